import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';

const root = join(import.meta.dirname, '..', '..');

/**
 * The storage code and one program of the tests as JavaScript, for a process of their own: a test that kills its
 * process cannot run inside the test runner. The caller removes the directory.
 */
export async function compileProgram(program: string): Promise<{ directory: string; program: string }> {
  // Below node_modules, so that the packages are found from there.
  const directory = mkdtempSync(join(root, 'node_modules', '.shadowkeep-test-'));
  const sources = ['src/common', 'src/storage', 'test/storage'].flatMap((folder) => listSources(join(root, folder)));
  for (const source of sources) await compile(source, directory);
  await writeFile(join(directory, 'package.json'), '{"type":"module"}');
  return { directory, program: compiledPath(program, directory) };
}

export function removeProgram(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}

async function compile(source: string, directory: string): Promise<void> {
  const { outputText } = ts.transpileModule(readFileSync(source, 'utf8'), {
    compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true },
  });
  const path = compiledPath(source, directory);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, outputText);
}

function compiledPath(source: string, directory: string): string {
  return join(directory, relative(root, source)).replace(/\.ts$/, '.js');
}

function listSources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .map((name) => join(folder, name));
}
