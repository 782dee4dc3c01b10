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
  /** What is taken of it, by its name there; of a re-export, by the name that it gets. Undefined: everything. */
  readonly names: readonly string[] | undefined;
}

/** Every import, re-export and `import()` with a literal in a TypeScript file. */
export function importsOf(path: string): Import[] {
  const source = ts.createSourceFile(path, readSource(path), ts.ScriptTarget.Latest);
  const found: Import[] = [];
  const add = (specifier: ts.Node | undefined, clause?: ts.ImportClause | ts.ExportDeclaration) => {
    if (specifier === undefined || !ts.isStringLiteral(specifier)) return;
    const { text } = specifier;
    found.push({ specifier: text, file: resolve(path, text), typeOnly: isTypeOnly(clause), names: namesOf(clause) });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause);
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0]);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function isTypeOnly(clause: ts.ImportClause | ts.ExportDeclaration | undefined): boolean {
  if (clause === undefined) return false;
  if (clause.isTypeOnly) return true;
  const elements = elementsOf(clause);
  const hasDefault = ts.isImportClause(clause) && clause.name !== undefined;
  return !hasDefault && elements !== undefined && elements.length > 0 && elements.every(({ isTypeOnly }) => isTypeOnly);
}

function namesOf(clause: ts.ImportClause | ts.ExportDeclaration | undefined): string[] | undefined {
  return (
    clause &&
    elementsOf(clause)?.map((element) =>
      ts.isExportSpecifier(element) ? element.name.text : (element.propertyName ?? element.name).text,
    )
  );
}

function elementsOf(clause: ts.ImportClause | ts.ExportDeclaration) {
  const names = ts.isExportDeclaration(clause) ? clause.exportClause : clause.namedBindings;
  return names === undefined || ts.isNamespaceImport(names) || ts.isNamespaceExport(names)
    ? undefined
    : [...names.elements];
}

function resolve(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  return relative(ROOT, join(ROOT, dirname(from), specifier)).replace(/\.js$/, '.ts');
}
