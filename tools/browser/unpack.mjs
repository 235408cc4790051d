// From the package's archives to a browser that runs: `chromium`, and in `lib` and `fonts` what few servers have.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { brotliDecompressSync } from "node:zlib";

const unpack = (name) => brotliDecompressSync(readFileSync(`node_modules/@sparticuz/chromium/bin/${name}.br`));
for (const name of ["al2023.tar", "fonts.tar"]) execFileSync("tar", ["--extract"], { input: unpack(name) });
writeFileSync("chromium", unpack("chromium"), { mode: 0o755 });
