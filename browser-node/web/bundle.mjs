// What is bundled, and how.

/** Files of the page that are as they are written. */
export const PAGE = ["index.html", "style.css", "submit.css", "adapt.css"];

/** Options of esbuild for a bundle in `outdir`. */
export function bundle(outdir) {
  return {
    entryPoints: {
      mesh: "src/mesh.ts",
      guest: "src/guest.ts",
      "storage-worker": "src/storage-worker.ts",
      page: "src/page.ts",
      "rows-worker": "src/submit/rows-worker.ts",
    },
    outdir,
    bundle: true,
    format: "esm",
    splitting: true,
    target: "es2023",
    minify: true,
    legalComments: "none",
  };
}
