import { cpSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readAdapterSettings } from '../../src/training/adapter_files.js';
import { resolveModel } from '../../src/weights/model_files.js';
import { adapterFolder, modelFolder } from '../support/fixtures.js';
import { temporaryFolder } from './files.js';

/** A copy of a folder in which one file is a link to the same content elsewhere. */
function linked(source: string, file: string, name = 'model'): string {
  const root = temporaryFolder();
  const folder = join(root, name);
  cpSync(source, folder, { recursive: true });
  mkdirSync(join(root, 'elsewhere'));
  renameSync(join(folder, file), join(root, 'elsewhere', file));
  symlinkSync(join(root, 'elsewhere', file), join(folder, file));
  return folder;
}

const open = async (folder: string) => (await resolveModel(folder)).weights.close();

test.each(['config.json', 'model.safetensors', 'tokenizer.json', 'chat_template.jinja'])(
  'a model whose %s is a link out of its folder is refused',
  async (file) => {
    await expect(open(linked(modelFolder('chat'), file))).rejects.toThrow(
      new RegExp(`${file} to lie in its folder but it is a link to .*elsewhere`),
    );
  },
);

test('so is a shard, and a file of an adapter', async () => {
  const shard = 'model-00002-of-00003.safetensors';
  await expect(open(linked(modelFolder('sharded'), shard))).rejects.toThrow(/00002-of-00003.*it is a link to/);
  const adapter = linked(adapterFolder('tied'), 'adapter_model.safetensors');
  await expect(readAdapterSettings(adapter)).rejects.toThrow(/adapter_model\.safetensors.*it is a link to/);
});

test('links within the folder are followed, and a folder that is a link itself', async () => {
  const root = temporaryFolder();
  const folder = join(root, 'model');
  cpSync(modelFolder('chat'), folder, { recursive: true });
  renameSync(join(folder, 'config.json'), join(folder, 'config-1.json'));
  symlinkSync('config-1.json', join(folder, 'config.json'));
  await open(folder);
  symlinkSync(folder, join(root, 'link'));
  await open(join(root, 'link'));
});

test("a snapshot in the hub's cache has links to its blobs, and to no other model's", async () => {
  const cache = temporaryFolder();
  const model = join(cache, 'models--someone--chat');
  const snapshot = join(model, 'snapshots', '0123abcd');
  mkdirSync(join(model, 'blobs'), { recursive: true });
  mkdirSync(snapshot, { recursive: true });
  for (const name of readdirSync(modelFolder('chat'))) {
    cpSync(join(modelFolder('chat'), name), join(model, 'blobs', `blob-${name}`));
    symlinkSync(join('..', '..', 'blobs', `blob-${name}`), join(snapshot, name));
  }
  await open(snapshot);
  rmSync(join(snapshot, 'config.json'));
  symlinkSync(join(modelFolder('chat'), 'config.json'), join(snapshot, 'config.json'));
  await expect(open(snapshot)).rejects.toThrow(/it is a link to/);
});
