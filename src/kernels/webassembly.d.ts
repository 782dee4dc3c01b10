/** The part of the WebAssembly API that this project uses: neither ES2023 nor Node's types declare it without the DOM. */
declare namespace WebAssembly {
  class Memory {
    constructor(descriptor: { initial: number; maximum?: number });
    /** Detached by `grow`: never keep it across one. */
    readonly buffer: ArrayBuffer;
    /** Adds pages of 64 KiB and returns the previous number of pages; throws a RangeError when there is no room. */
    grow(deltaPages: number): number;
  }

  class Module {
    constructor(bytes: Uint8Array);
  }

  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, Memory>>);
    readonly exports: Readonly<Record<string, (...operands: number[]) => void>>;
  }

  function validate(bytes: Uint8Array): boolean;
}
