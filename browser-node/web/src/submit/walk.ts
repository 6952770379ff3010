// Dropped and picked files: folders are walked, hidden files left out.

/** A job of more files is submitted from a terminal: a tab would hold a File for each. */
export const MOST_FILES = 100_000;
/** Deeper folders than that lead back to themselves. */
const DEPTH = 64;

/** Entries that are asked for at a time: a browser answers each by a message from another process. */
const AT_ONCE = 64;

/** A file, and where it was found. */
export interface Found {
  path: string;
  file: File;
}

/** Files that were found, and what was wrong with others. */
export interface Walked {
  found: Found[];
  /** In words, at most one for each kind of trouble. */
  troubles: string[];
}

const TOO_MANY = `There are more than ${MOST_FILES.toLocaleString("en")} files: the first ones are taken. \
webmesh submit takes any number, from a terminal.`;

function hidden(path: string): boolean {
  return path.split("/").some((name) => name.startsWith("."));
}

/** Files as an `<input>` gives them: one by one, or all of a folder. What is picked by its own name is wanted. */
export function picked(files: Iterable<File>): Walked {
  const found: Found[] = [];
  for (const file of files) {
    const path = file.webkitRelativePath || file.name;
    if (file.webkitRelativePath !== "" && hidden(path)) continue;
    if (found.length === MOST_FILES) return { found: sorted(found), troubles: [TOO_MANY] };
    found.push({ path, file });
  }
  return { found: sorted(found), troubles: [] };
}

/** Files that were dropped, and those in dropped folders. */
export async function dropped(entries: readonly FileSystemEntry[]): Promise<Walked> {
  const found: Found[] = [];
  const unread: string[] = [];
  let whole = true;
  const waiting = entries.map((entry) => ({ entry, depth: 0 }));
  const look = async ({ entry, depth }: { entry: FileSystemEntry; depth: number }) => {
    try {
      if (entry.isFile) found.push({ path: entry.fullPath.replace(/^\//, ""), file: await fileOf(entry) });
      else if (depth < DEPTH) {
        const inside = await list(entry as FileSystemDirectoryEntry);
        for (const entry of inside) if (!entry.name.startsWith(".")) waiting.push({ entry, depth: depth + 1 });
      }
    } catch (error) {
      unread.push(`${entry.fullPath} cannot be read: ${String(error)}`);
    }
  };
  // The last first, so that few folders are open at a time.
  while (waiting.length > 0 && found.length < MOST_FILES) await Promise.all(waiting.splice(-AT_ONCE).map(look));
  if (found.length > MOST_FILES || waiting.length > 0) whole = false;
  found.length = Math.min(found.length, MOST_FILES);
  const troubles = whole ? [] : [TOO_MANY];
  const [first, ...others] = unread.sort();
  if (first !== undefined) troubles.push(others.length === 0 ? first : `${first}, and ${others.length} more`);
  return { found: sorted(found), troubles };
}

function fileOf(entry: FileSystemEntry): Promise<File> {
  return new Promise((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
}

/** A reader gives a folder's entries a hundred at a time, and none at the end. */
async function list(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  while (all.length <= MOST_FILES) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break;
    all.push(...some);
  }
  return all;
}

/** The same files make the same job, in whatever order they come. */
function sorted(found: Found[]): Found[] {
  return found.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}
