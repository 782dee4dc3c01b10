import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createShadowFiles, type ShadowFilesOptions } from '../../../src/storage/sharded/shadow-files.js';
import { namesIn, storageFailure, temporaryDirectory } from '../fixtures.js';

const TENSORS = ['a', 'b'].map((name) => ({ name, dtype: 'F32' as const, shape: [2] }));

async function write(path: string, options: ShadowFilesOptions = {}) {
  const files = await createShadowFiles(path, TENSORS, options);
  await files.write(new Uint8Array(16));
  return files.finish();
}

/** A directory with these files in it, and the names that a model gets there. */
async function namesBeside(present: Readonly<Record<string, string>>, options: ShadowFilesOptions = {}) {
  const directory = join(await temporaryDirectory(), 'out');
  await mkdir(directory);
  for (const [name, text] of Object.entries(present)) await writeFile(join(directory, name), text);
  const { path } = await write(directory, options);
  const names = (await namesIn(directory)).filter((name) => !(name in present));
  return { path: path.slice(directory.length + 1), names };
}

const DIFFUSERS = 'diffusion_pytorch_model.safetensors';

describe('the names in a directory', () => {
  test.each<[what: string, present: Record<string, string>, name: string]>([
    ['an empty one', {}, 'model.safetensors'],
    ['a config of transformers', { 'config.json': '{"model_type":"bert"}' }, 'model.safetensors'],
    ['a config of diffusers', { 'config.json': '{"_diffusers_version":"0.30.0"}' }, DIFFUSERS],
    ['a config with a class', { 'config.json': '{"_class_name":"UNet2DModel"}' }, DIFFUSERS],
    ['weights of diffusers', { 'diffusion_pytorch_model.bin': '' }, DIFFUSERS],
    ['shards of diffusers', { 'diffusion_pytorch_model-00001-of-00002.bin': '' }, DIFFUSERS],
    ['weights of both', { 'diffusion_pytorch_model.bin': '', 'model.bin': '' }, 'model.safetensors'],
    ['a config that is none', { 'config.json': 'no', 'diffusion_pytorch_model.bin': '' }, DIFFUSERS],
    ['a config that is no object', { 'config.json': '[1]' }, 'model.safetensors'],
  ])('beside %s', async (_what, present, name) => {
    expect(await namesBeside(present)).toEqual({ path: name, names: [name] });
  });

  test('are what was asked for, whatever lies there', async () => {
    expect(await namesBeside({}, { layout: 'diffusers' })).toEqual({ path: DIFFUSERS, names: [DIFFUSERS] });
    const config = { 'config.json': '{"_diffusers_version":"0.30.0"}' };
    expect((await namesBeside(config, { layout: 'transformers' })).path).toBe('model.safetensors');
  });

  test('of shards too', async () => {
    const shards = [1, 2].map((number) => `diffusion_pytorch_model-0000${number}-of-00002.safetensors`);
    expect(await namesBeside({}, { layout: 'diffusers', shardBytesMax: 8 })).toEqual({
      path: `${DIFFUSERS}.index.json`,
      names: [...shards, `${DIFFUSERS}.index.json`],
    });
  });

  test('of a new directory', async () => {
    const directory = join(await temporaryDirectory(), 'new/');
    expect((await write(directory, { layout: 'diffusers' })).path).toBe(join(directory, DIFFUSERS));
  });

  test('a file has its own, and a layout beside it is refused', async () => {
    const path = join(await temporaryDirectory(), 'ema.safetensors');
    expect(await storageFailure(write(path, { layout: 'diffusers' }), 'INVALID_INPUT')).toMatchObject({
      message: `${path} has a name of its own: a layout is for directories`,
    });
  });
});
