export { type Box, BoxList } from './box-list.js';
export { type Part, PartCursor } from './part.js';
export { type Rows, rowOffset, rowsOf, visitRows } from './rows.js';
export { World } from './world.js';
