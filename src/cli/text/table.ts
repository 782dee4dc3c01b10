import { escapeUnprintable } from '../../common/index.js';
import { wrapWords } from './wrap-words.js';

export interface Column<Row> {
  title: string;
  /** Columns of numbers are aligned to the right. */
  align?: 'right';
  /**
   * When there is no room, columns with the highest rank are dropped first. Columns without a rank are never dropped.
   */
  dropRank?: number;
  /** When there is no room, the cells of this column are wrapped. Only the last column may have this. */
  wraps?: true;
  cell(row: Row): string;
}

/** The title and the cells of a column, as text, with its widest and narrowest width. */
interface ShownColumn {
  title: string;
  align: 'right' | undefined;
  dropRank: number | undefined;
  cells: string[];
  widthMax: number;
  widthMin: number;
}

const GAP = '  ';

/** Least width of a wrapped column: words are hard to read in a narrower one. */
const WRAPPED_WIDTH_MIN = 24;

/** The lines of a table: titles, rows without trailing spaces, and which columns had no room in `width` characters. */
export function formatTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  width = Number.POSITIVE_INFINITY,
): string[] {
  const all = columns.map((column) => showColumn(column, rows));
  const shown = dropToFit(all, width);
  const lastWidth = Math.max(shown.at(-1)!.widthMin, width - widthOf(shown.slice(0, -1)) - GAP.length);
  const lines = [shown.map(({ title }) => title), ...rows.map((_, row) => shown.map(({ cells }) => cells[row]!))];
  const dropped = all.filter((column) => !shown.includes(column)).map(({ title }) => title);
  const note = dropped.length === 0 ? [] : wrapWords(`no room for ${dropped.join(', ')}`, width);
  return [...lines.flatMap((cells) => formatRow(shown, cells, lastWidth)), ...note];
}

function showColumn<Row>(column: Column<Row>, rows: readonly Row[]): ShownColumn {
  const { title, align, dropRank, wraps } = column;
  const cells = rows.map((row) => escapeUnprintable(column.cell(row)));
  const lengths = [title, ...cells].map((text) => text.length);
  const widthMax = Math.max(...lengths);
  const words = cells.flatMap((text) => text.split(' ')).map((word) => word.length);
  const widthMin = wraps ? Math.min(widthMax, Math.max(WRAPPED_WIDTH_MIN, ...words)) : widthMax;
  return { title, align, dropRank, cells, widthMax, widthMin };
}

/** The columns that fit into `width`, or those without a rank if not even they do. */
function dropToFit(columns: readonly ShownColumn[], width: number): readonly ShownColumn[] {
  const [...byRank] = columns.filter(({ dropRank }) => dropRank !== undefined);
  byRank.sort((a, b) => b.dropRank! - a.dropRank!);
  let shown = columns;
  for (const column of byRank) {
    const last = shown.at(-1)!;
    if (widthOf(shown) - last.widthMax + last.widthMin <= width) break;
    shown = shown.filter((kept) => kept !== column);
  }
  return shown;
}

function widthOf(columns: readonly ShownColumn[]): number {
  return columns.reduce((sum, { widthMax }) => sum + widthMax, GAP.length * Math.max(0, columns.length - 1));
}

/** The line of a row, and further lines for the rest of its last cell. */
function formatRow(columns: readonly ShownColumn[], cells: readonly string[], lastWidth: number): string[] {
  const first = cells.slice(0, -1).map((text, index) => pad(text, columns[index]!) + GAP);
  const last = columns.at(-1)!;
  const wrapped = last.widthMin < last.widthMax ? wrapWords(cells.at(-1)!, lastWidth) : [pad(cells.at(-1)!, last)];
  const indent = ' '.repeat(first.join('').length);
  return wrapped.map((text, index) => ((index === 0 ? first.join('') : indent) + text).trimEnd());
}

function pad(text: string, { align, widthMax }: ShownColumn): string {
  return align === 'right' ? text.padStart(widthMax) : text.padEnd(widthMax);
}

/** Lines of names and aligned values. A value that has no room is wrapped. */
export function formatFields(
  fields: readonly (readonly [name: string, value: string])[],
  width = Number.POSITIVE_INFINITY,
): string[] {
  const shown = fields.map(([name, value]) => [escapeUnprintable(name), escapeUnprintable(value)] as const);
  const nameWidth = Math.max(...shown.map(([name]) => name.length));
  const indent = ' '.repeat(nameWidth + GAP.length);
  return shown.flatMap(([name, value]) =>
    wrapWords(value, width - indent.length).map((text, index) =>
      ((index === 0 ? name.padEnd(nameWidth) + GAP : indent) + text).trimEnd(),
    ),
  );
}
