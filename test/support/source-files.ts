import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/** The repository's root. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Not written by hand: built, installed, or data. */
const NOT_SOURCE = new Set([
  'node_modules',
  'gen',
  'dist',
  '.venv',
  '__pycache__',
  'results',
  '.pytest_cache',
  '.mypy_cache',
]);

/** Paths of the files under `folder` with one of the endings, relative to the root, sorted. */
export function sourceFiles(folder: string, endings: readonly string[] = ['.ts']): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true })
    .flatMap((entry) => {
      const path = `${folder}/${entry.name}`;
      if (NOT_SOURCE.has(entry.name) || entry.name.endsWith('.egg-info')) return [];
      if (entry.isDirectory()) return sourceFiles(path, endings);
      return endings.some((ending) => entry.name.endsWith(ending)) ? [path] : [];
    })
    .sort();
}

export function readSource(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

export interface Import {
  /** As written. */
  readonly specifier: string;
  /** The imported file relative to the root when the specifier is a path: `src/engine/run.ts`. */
  readonly file: string | undefined;
  /** Leaves no trace at run time. */
  readonly typeOnly: boolean;
}

/** Every import, re-export and `import()` with a literal in a TypeScript file. */
export function importsOf(path: string): Import[] {
  const source = ts.createSourceFile(path, readSource(path), ts.ScriptTarget.Latest);
  const found: Import[] = [];
  const add = (specifier: ts.Node | undefined, typeOnly: boolean) => {
    if (specifier === undefined || !ts.isStringLiteral(specifier)) return;
    found.push({ specifier: specifier.text, file: resolve(path, specifier.text), typeOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, isTypeOnly(node.importClause));
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, isTypeOnly(node));
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], false);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function isTypeOnly(clause: ts.ImportClause | ts.ExportDeclaration | undefined): boolean {
  if (clause === undefined) return false;
  if (clause.isTypeOnly) return true;
  const names = ts.isExportDeclaration(clause) ? clause.exportClause : clause.namedBindings;
  if (names === undefined || !(ts.isNamedImports(names) || ts.isNamedExports(names))) return false;
  const hasDefault = ts.isImportClause(clause) && clause.name !== undefined;
  return !hasDefault && names.elements.length > 0 && names.elements.every((element) => element.isTypeOnly);
}

function resolve(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  return relative(ROOT, join(ROOT, dirname(from), specifier)).replace(/\.js$/, '.ts');
}
