import { describeBrowser } from "./browser.mjs";

describeBrowser("Firefox", "firefox", []);
