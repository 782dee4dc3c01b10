import type { Logger } from '../common/index.js';
import type { Service } from './service.js';
export interface LoadedRun {
  run: string;
  step: number | undefined;
}
export class RunFiles {
  static async open(_dir: string, _log: Logger): Promise<RunFiles> {
    return new RunFiles();
  }
  async delete(_run: string): Promise<void> {}
  async load(_service: Service): Promise<LoadedRun[]> {
    return [];
  }
  async save(_service: Service): Promise<void> {}
  async close(): Promise<void> {}
}
