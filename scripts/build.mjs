// Builds dist/: gRPC types from proto/, the WebAssembly kernels, the TypeScript, and the files that the code reads at
// run time. A part whose inputs are older than its output is left alone, so a second call takes about a second.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);
const bin = (name) => join(root, 'node_modules', '.bin', name);

function newest(path) {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(path).map((entry) => newest(join(path, entry))));
}

function isStale(output, ...inputs) {
  if (!existsSync(output)) return true;
  const builtMs = statSync(output).mtimeMs;
  return inputs.some((input) => newest(input) > builtMs);
}

function run(command, args) {
  try {
    execFileSync(bin(command), args, { stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    process.stderr.write(`build: ${command} failed\n${error.stdout ?? ''}${error.stderr ?? ''}`);
    process.exit(1);
  }
}

/**
 * The protos as JavaScript has them: enum values without the prefix that carries their enum's name (DTYPE_BF16 is 'BF16').
 * Languages whose enums share one scope need it; a value that says that nothing is said (DTYPE_UNSPECIFIED) keeps it.
 */
function shortenEnumValues(from, to) {
  for (const name of readdirSync(from)) {
    const short = readFileSync(join(from, name), 'utf8').replace(/^enum (\w+) \{[^}]*\}/gm, (block, type) => {
      const prefix = `${type.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase()}_`;
      return block.replace(new RegExp(`^  ${prefix}(?!UNSPECIFIED\\b)`, 'gm'), '  ');
    });
    mkdirSync(to, { recursive: true });
    writeFileSync(join(to, name), short);
  }
}

const gen = 'src/protocol/gen';
const shortProtos = join(gen, 'proto');
if (isStale(join(gen, 'shadow_weights.ts'), 'proto', 'scripts/build.mjs', 'package-lock.json')) {
  rmSync(gen, { recursive: true, force: true });
  shortenEnumValues('proto/shadowkeep/v1', join(shortProtos, 'shadowkeep/v1'));
  run('proto-loader-gen-types', [
    '--longs=Number',
    '--enums=String',
    '--oneofs',
    '--defaults',
    '--arrays',
    '--keepCase',
    '--importFileExtension=.js',
    `--includeDirs=${shortProtos}`,
    `--outDir=${gen}`,
    '--grpcLib=@grpc/grpc-js',
    'shadowkeep/v1/shadow_weights.proto',
  ]);
}

const assembly = 'src/kernels/assembly';
const kernels = 'src/kernels/gen/wasm.ts';
if (isStale(kernels, assembly, 'scripts/build.mjs', 'package-lock.json')) {
  const wasm = join(tmpdir(), `shadowkeep-kernels-${process.pid}.wasm`);
  run('asc', [
    join(assembly, 'index.ts'),
    '--outFile',
    wasm,
    '--runtime=stub',
    // Takes a memory of any size; nothing of the kernels' own lies in it.
    '--importMemory',
    '--noExportMemory',
    '--initialMemory=0',
    '--enable=simd',
    '-O3',
    '--converge',
    '--noAssert',
  ]);
  mkdirSync(dirname(kernels), { recursive: true });
  writeFileSync(
    kernels,
    `// Built from ../assembly by scripts/build.mjs; never edited.\nexport const KERNELS_WASM_BASE64 =\n  '${readFileSync(wasm, 'base64')}';\n`,
  );
  rmSync(wasm);
}

run('tsc', ['-p', 'tsconfig.build.json']);
cpSync(shortProtos, 'dist/protocol/gen/proto', { recursive: true });
if (existsSync('src/demo/data')) cpSync('src/demo/data', 'dist/demo/data', { recursive: true });
