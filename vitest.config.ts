import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A worker is a process of its own: each test file has its own memories, servers and signals.
    pool: 'forks',
    maxWorkers: 2,
    // For a hang, not for speed: machines that run this are slow and shared.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 20_000,
  },
});
