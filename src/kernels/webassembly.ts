declare global {
  /**
   * The part of the WebAssembly API that this project uses: TypeScript declares it for browsers only, together with
   * the DOM.
   */
  namespace WebAssembly {
    class Memory {
      /** Sizes in pages of 64 KiB. */
      constructor(descriptor: { initial: number; maximum?: number });
      /** Detached by `grow`: never keep it across one. */
      readonly buffer: ArrayBuffer;
      /** Adds pages and returns their previous number; throws a RangeError when there is no room. */
      grow(deltaPages: number): number;
    }

    class Module {
      constructor(bytes: Uint8Array);
    }

    class Instance {
      constructor(module: Module, imports: Record<string, Record<string, Memory>>);
      readonly exports: Readonly<Record<string, (...operands: number[]) => number>>;
    }

    /** Whether this runtime can compile the module. */
    function validate(bytes: Uint8Array): boolean;
  }
}

export {};
