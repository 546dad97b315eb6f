import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeConversation } from '../../src/text/chat_targets.js';
import { addTokens, type TextOptions } from '../../src/text/text_options.js';
import type { TokenizerJson } from '../../src/text/tokenizer.js';
import { type ModelFiles, resolveModel } from '../../src/weights/model_files.js';
import { modelFolder } from '../support/fixtures.js';
import { plainLike } from './templates.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'text-options-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function open(text: TextOptions, model: string = modelFolder('chat')): Promise<ModelFiles> {
  const files = await resolveModel(model, text);
  files.weights.close();
  return files;
}

const step = { content: '<step>', special: false };
const pause = { content: '<|pause|>', special: true };

describe('added tokens', () => {
  test('become one token each, behind the present ones', async () => {
    const plain = await open({});
    const { tokenizer } = await open({ addedTokens: [step, pause] });
    const next = plain.tokenizer!.vocabSize;
    expect(tokenizer!.vocabSize).toBe(next + 2);
    expect(tokenizer!.encode('a<step>b<|pause|>')).toEqual([
      ...plain.tokenizer!.encode('a'),
      next,
      ...plain.tokenizer!.encode('b'),
      next + 1,
    ]);
    expect(plain.tokenizer!.encode('<step>').length).toBeGreaterThan(1);
    expect(tokenizer!.isSpecial(next)).toBe(false);
    expect(tokenizer!.isSpecial(next + 1)).toBe(true);
    expect(tokenizer!.decode([next, next + 1])).toBe('<step>');
    expect(tokenizer!.decode([next, next + 1], { skipSpecialTokens: false })).toBe('<step><|pause|>');
  });

  test('that are there keep their ids', async () => {
    const plain = await open({});
    const { tokenizer } = await open({ addedTokens: [{ content: '<|im_end|>', special: true }, step, step] });
    expect(tokenizer!.vocabSize).toBe(plain.tokenizer!.vocabSize + 1);
    expect(tokenizer!.tokenToId('<|im_end|>')).toBe(plain.tokenizer!.tokenToId('<|im_end|>'));
    const json: TokenizerJson = { model: { vocab: { a: 0, b: 7 } }, added_tokens: [] };
    const added = addTokens(json, {}, [{ content: 'b', special: true }, step]).json.added_tokens;
    expect(added?.map(({ id, content }) => [content, id])).toEqual([
      ['b', 7],
      ['<step>', 8],
    ]);
  });

  test('stand in the files that are written, with the template, and open as the same', async () => {
    const changed = await open({ chatTemplate: plainLike, addedTokens: [step, pause] });
    const target = mkdtempSync(join(folder, 'written-'));
    await changed.writeTokenizer(target);
    const plain = mkdtempSync(join(folder, 'plain-'));
    await (await open({})).writeTokenizer(plain);
    expect(readdirSync(target).sort()).toEqual(readdirSync(plain).sort());
    expect(readFileSync(join(target, 'chat_template.jinja'), 'utf8')).toBe(plainLike);
    const config = JSON.parse(readFileSync(join(target, 'tokenizer_config.json'), 'utf8'));
    expect(config).not.toHaveProperty('chat_template');

    for (const name of ['config.json', 'model.safetensors'])
      writeFileSync(join(target, name), readFileSync(join(modelFolder('chat'), name)));
    const again = await open({}, target);
    const text = 'a<step>b<|pause|>';
    expect(again.tokenizer!.encode(text)).toEqual(changed.tokenizer!.encode(text));
    expect(again.chatTemplate!.source).toBe(plainLike);
    expect(await again.textFingerprint()).not.toBe(await (await open({})).textFingerprint());
  });
});

describe('another chat template', () => {
  const messages = [
    { role: 'user', content: '6 * 7?' },
    { role: 'assistant', content: '42' },
  ];
  const encode = ({ chatTemplate, tokenizer }: ModelFiles) => encodeConversation(messages, chatTemplate!, tokenizer!);

  test('may be Jinja or a file of it, and changes the fingerprint', async () => {
    const file = join(folder, 'own.jinja');
    writeFileSync(file, plainLike);
    const [plain, inline, read] = [
      await open({}),
      await open({ chatTemplate: plainLike }),
      await open({ chatTemplate: file }),
    ];
    expect(read.chatTemplate!.render(messages)).toBe('### user:\n6 * 7?\n### End\n### assistant:\n42\n### End\n');
    expect(await inline.textFingerprint()).toBe(await read.textFingerprint());
    expect(await inline.textFingerprint()).not.toBe(await plain.textFingerprint());
    // A worker opens the model again with what it is told, whatever became of the file.
    expect(read.textOptions).toEqual({ chatTemplate: plainLike });
  });

  test('with an end of turn of several tokens trains all of them, and one token where it was added', async () => {
    const several = encode(await open({ chatTemplate: plainLike }));
    const end = { content: '\n### End\n', special: true };
    const one = encode(await open({ chatTemplate: plainLike, addedTokens: [end] }));
    expect(several.endOfTurn.length).toBeGreaterThan(3);
    expect(several.labels.slice(-several.endOfTurn.length)).toEqual(several.endOfTurn);
    expect(one.endOfTurn).toHaveLength(1);
    expect(one.labels.at(-1)).toBe(one.endOfTurn[0]);
  });

  test('is refused when it cannot be read or parsed', async () => {
    await expect(open({ chatTemplate: join(folder, 'absent.jinja') })).rejects.toThrow(
      /^Expected 'chatTemplate' to be Jinja or a readable file of it but received '.*absent\.jinja'/,
    );
    await expect(open({ chatTemplate: '{% for' })).rejects.toThrow(/^chatTemplate: the chat template cannot be parsed/);
  });
});
