// Dropped and chosen files: folders are walked, hidden files are left out.

/** Maximum number of files: a tab would hold a File for each. Jobs with more are submitted from a terminal. */
export const MAX_FILES = 100_000;
/** Maximum depth of folders; deeper ones are probably cycles. */
const DEPTH = 64;

/** Number of entries requested at a time: each is a message to another process of the browser. */
const CONCURRENT = 64;

/** A file and its path. */
export interface Found {
  path: string;
  file: File;
}

/** Found files, and problems with others. */
export interface Walked {
  found: Found[];
  /** As text, at most one for each kind of problem. */
  troubles: string[];
}

const TOO_MANY = `There are more than ${MAX_FILES.toLocaleString("en")} files: the first ones are taken. \
webmesh submit takes any number, from a terminal.`;

function hidden(path: string): boolean {
  return path.split("/").some((name) => name.startsWith("."));
}

/** Files from an `<input>`: single ones, or all of a folder. A hidden file that was chosen by itself is included. */
export function picked(files: Iterable<File>): Walked {
  const found: Found[] = [];
  for (const file of files) {
    const path = file.webkitRelativePath || file.name;
    if (file.webkitRelativePath !== "" && hidden(path)) continue;
    if (found.length === MAX_FILES) return { found: sorted(found), troubles: [TOO_MANY] };
    found.push({ path, file });
  }
  return { found: sorted(found), troubles: [] };
}

/** Dropped files, and those in dropped folders. */
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
  // Depth first, so that few folders are open at a time.
  while (waiting.length > 0 && found.length < MAX_FILES) await Promise.all(waiting.splice(-CONCURRENT).map(look));
  if (found.length > MAX_FILES || waiting.length > 0) whole = false;
  found.length = Math.min(found.length, MAX_FILES);
  const troubles = whole ? [] : [TOO_MANY];
  const [first, ...others] = unread.sort();
  if (first !== undefined) troubles.push(others.length === 0 ? first : `${first}, and ${others.length} more`);
  return { found: sorted(found), troubles };
}

function fileOf(entry: FileSystemEntry): Promise<File> {
  return new Promise((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
}

/** A reader returns a folder's entries a hundred at a time, and none at the end. */
async function list(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  while (all.length <= MAX_FILES) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break;
    all.push(...some);
  }
  return all;
}

/** The same files give the same job, in whatever order they come. */
function sorted(found: Found[]): Found[] {
  return found.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}
