// Builds the page into $CAUDAL_WEB_OUT, each file also packed, so that the service never packs one itself.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const out = process.env.CAUDAL_WEB_OUT ?? "../_web";

/** Of what is built in: their authors want to be named wherever it goes. */
function licenses(): string {
  const { dependencies } = JSON.parse(readFileSync("package.json", "utf8")) as {
    dependencies: Record<string, string>;
  };
  return Object.entries(dependencies)
    .map(
      ([name, version]) =>
        `${name} ${version}\n\n${readFileSync(join("node_modules", name, "LICENSE"), "utf8")}`,
    )
    .join("\n\n");
}

function packed(): Plugin {
  return {
    name: "packed",
    closeBundle() {
      writeFileSync(join(out, "licenses.txt"), licenses());
      for (const entry of readdirSync(out, { recursive: true, withFileTypes: true })) {
        const path = join(entry.parentPath, entry.name);
        if (!entry.isFile() || /\.(br|gz|txt)$/.test(path)) continue;
        const body = readFileSync(path);
        const most = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
        writeFileSync(`${path}.br`, brotliCompressSync(body, most));
        writeFileSync(`${path}.gz`, gzipSync(body, { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  plugins: [packed()],
  build: {
    outDir: out,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 300,
  },
});
