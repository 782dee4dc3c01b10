import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

/** One call of the storage code to the file system. */
export interface SystemCall {
  name: string;
  /** The path it is about; for a rename or a link the new one. */
  path: string;
  /** The old path of a rename or a link. */
  fromPath?: string;
}

/** Stands in for a call: `proceed` makes it, with other parameters if given. */
export type Intercept = (
  call: SystemCall,
  parameters: unknown[],
  proceed: (parameters?: unknown[]) => Promise<unknown>,
) => Promise<unknown>;

type Action = (...parameters: unknown[]) => Promise<unknown>;

/** Paths of the open handles. */
const paths = new WeakMap<object, string>();

/**
 * From now on each call of this process that changes, reads or syncs a file or a directory goes through `intercept`.
 * The files are real: only what a dying process or a bad disk would do is added.
 */
export async function interceptSystemCalls(intercept: Intercept): Promise<void> {
  await interceptHandles(intercept);
  const calls = fs.promises as unknown as Record<string, Action>;
  for (const name of ['open', 'mkdir', 'rename', 'link', 'rm']) {
    const real = calls[name]!;
    calls[name] = async (...parameters) => {
      const [first, second] = parameters.map(String);
      const hasTwoPaths = name === 'rename' || name === 'link';
      const call = hasTwoPaths ? { name, path: second!, fromPath: first! } : { name, path: first! };
      const result = await intercept(call, parameters, (changed = parameters) => real(...changed));
      if (name === 'open') paths.set(result as object, call.path);
      return result;
    };
  }
  syncBuiltinESMExports();
}

async function interceptHandles(intercept: Intercept): Promise<void> {
  const probe = await fs.promises.open(process.execPath, 'r');
  const methods = Object.getPrototypeOf(probe) as Record<string, Action>;
  await probe.close();
  for (const name of ['read', 'write', 'sync']) {
    const real = methods[name]!;
    methods[name] = function (this: object, ...parameters) {
      const call = { name, path: paths.get(this) ?? '' };
      return intercept(call, parameters, (changed = parameters) => real.apply(this, changed));
    };
  }
}
