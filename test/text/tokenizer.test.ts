import { beforeAll, describe, expect, test } from 'vitest';
import { ggufTokenizerFiles } from '../../src/text/gguf_tokenizer.js';
import { createTokenizer, type Tokenizer } from '../../src/text/tokenizer.js';
import { fetchModel } from '../../src/weights/fetch.js';
import { resolveModel } from '../../src/weights/model_files.js';
import { goldenJson } from '../support/fixtures.js';
import { byteTokenizer, chatTokenizer } from './models.js';

describe('from tokenizer.json', () => {
  const golden = goldenJson<{ texts: string[]; ids: number[][]; decoded: string[]; decodedWithoutSpecial: string[] }>(
    'chat.tokenizer.json',
  );

  test('gives the ids and texts of transformers', () => {
    const tokenizer = chatTokenizer();
    for (const [index, text] of golden.texts.entries()) {
      expect(tokenizer.encode(text), text).toEqual(golden.ids[index]);
      expect(tokenizer.decode(golden.ids[index]!, { skipSpecialTokens: false })).toBe(golden.decoded[index]);
      expect(tokenizer.decode(golden.ids[index]!)).toBe(golden.decodedWithoutSpecial[index]);
    }
  });

  test('knows its special tokens', () => {
    const tokenizer = chatTokenizer();
    expect(tokenizer.vocabSize).toBe(320);
    expect(tokenizer.bosTokenId).toBe(1);
    expect(tokenizer.eosTokenIds).toEqual([2, 0]);
    expect(tokenizer.tokenToId('<|im_end|>')).toBe(2);
    expect(tokenizer.tokenToId('<|none|>')).toBeNull();
    expect(tokenizer.idToToken(1)).toBe('<|im_start|>');
    expect(tokenizer.idToToken(320)).toBeNull();
    expect([0, 1, 2, 3].map((id) => tokenizer.isSpecial(id))).toEqual([true, true, true, false]);
  });

  test('leaves out ids that name no token, and decodes nothing to nothing', () => {
    const tokenizer = byteTokenizer(['<end>'], '<end>');
    expect(tokenizer.decode([])).toBe('');
    expect(tokenizer.decode([72, 9999, -1, 105])).toBe('Hi');
    expect(tokenizer.decode([256])).toBe('');
    expect(tokenizer.decode([256], { skipSpecialTokens: false })).toBe('<end>');
    expect(tokenizer.decode([0xf0, 0x9f, 0x99])).toBe('\uFFFD');
  });

  test('keeps spaces before punctuation, whatever the configuration says', () => {
    const tokenizer = byteTokenizer();
    expect(tokenizer.decode(tokenizer.encode("a . b , c 's !"))).toBe("a . b , c 's !");
  });

  test('adds the begin-of-text token unless told not to', () => {
    const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
    const tokenizer = createTokenizer(
      {
        model: { type: 'BPE', vocab: { a: 0, '<s>': 1 }, merges: [] },
        added_tokens: [{ id: 1, content: '<s>', special: true }],
        decoder: { type: 'ByteLevel' },
        post_processor: { type: 'TemplateProcessing', single: [special('<s>'), { Sequence: { id: 'A', type_id: 0 } }] },
      },
      { bos_token: { content: '<s>' } },
    );
    expect(tokenizer.bosTokenId).toBe(1);
    expect(tokenizer.encode('a')).toEqual([1, 0]);
    expect(tokenizer.encode('a', { addSpecialTokens: false })).toEqual([0]);
    expect(tokenizer.encode('<s>a', { addSpecialTokens: false })).toEqual([1, 0]);
  });

  test('refuses what it does not understand', () => {
    const json = { model: { type: 'Mystery', vocab: {} } };
    expect(() => createTokenizer(json, {}, { source: 'x/tokenizer.json' })).toThrow(
      /^x\/tokenizer\.json: the tokenizer cannot/,
    );
  });
});

describe('from GGUF metadata', () => {
  const golden = goldenJson<{ tokens: string[]; merges: string[]; texts: string[]; ids: Record<string, number[][]> }>(
    'pre_tokenizers.json',
  );
  const metadata = (pre: string, more: object = {}) => ({
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': pre,
    'tokenizer.ggml.tokens': golden.tokens,
    'tokenizer.ggml.merges': golden.merges,
    'tokenizer.ggml.token_type': golden.tokens.map(() => 1),
    ...more,
  });
  const build = (pre: string, more: object = {}): Tokenizer => {
    const files = ggufTokenizerFiles(metadata(pre, more), 'm.gguf')!;
    return createTokenizer(files.json, files.config, { eosTokenIds: files.eosTokenIds });
  };

  test.each(Object.keys(golden.ids))('%s splits as the tokenizers package does', (pre) => {
    const tokenizer = build(pre);
    for (const [index, text] of golden.texts.entries()) {
      expect(tokenizer.encode(text, { addSpecialTokens: false }), text).toEqual(golden.ids[pre]![index]);
      expect(tokenizer.decode(golden.ids[pre]![index]!)).toBe(pre === 'qwen2' ? text.normalize('NFC') : text);
    }
  });

  test('the texts tell the pre-tokenizers apart', () => {
    expect(new Set(Object.values(golden.ids).map((ids) => JSON.stringify(ids))).size).toBe(5);
  });

  test('control tokens are special, user-defined ones whole, and the begin of text follows the metadata', () => {
    const tokens = [...golden.tokens, '<|bos|>', '<|end|>', '<user defined>'];
    const [bos, end, user] = [tokens.length - 3, tokens.length - 2, tokens.length - 1];
    const more = {
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.token_type': tokens.map((_, id) => (id === user ? 4 : id >= bos ? 3 : 1)),
      'tokenizer.ggml.bos_token_id': bos,
      'tokenizer.ggml.eos_token_id': end,
      'tokenizer.ggml.eot_token_id': end,
      'tokenizer.ggml.eom_token_id': bos,
    };
    const tokenizer = build('llama-bpe', more);
    expect(tokenizer.eosTokenIds).toEqual([end, bos]);
    expect(tokenizer.encode('<user defined><|end|>')).toEqual([bos, user, end]);
    expect(tokenizer.decode([bos, user, end])).toBe('<user defined>');
    expect(build('llama-bpe', { ...more, 'tokenizer.ggml.add_bos_token': false }).encode('<|end|>')).toEqual([end]);
    expect(build('smollm', more).encode('<|end|>')).toEqual([end]);
    expect(build('smollm', { ...more, 'tokenizer.ggml.add_bos_token': true }).encode('<|end|>')).toEqual([bos, end]);
    expect(build('smollm', { ...more, 'tokenizer.ggml.add_eos_token': true }).encode('<|bos|>')).toEqual([bos, end]);
  });

  test('refuses kinds that it does not know, by name', () => {
    expect(() => build('smolm')).toThrow(
      /Expected 'tokenizer.ggml.pre' to be one of smollm, .*'smolm' \(did you mean 'smollm'/,
    );
    expect(() => build('constructor')).toThrow(/received 'constructor'/);
    expect(() => build('smollm', { 'tokenizer.ggml.model': 'llama' })).toThrow(
      /'tokenizer.ggml.model' to be 'gpt2'.*'llama'/,
    );
    expect(() => build('smollm', { 'tokenizer.ggml.merges': undefined })).toThrow(
      /'tokenizer.ggml.merges' to be an array/,
    );
    expect(() => build('smollm', { 'tokenizer.ggml.tokens': [1] })).toThrow(
      /'tokenizer.ggml.tokens' to be an array of strings/,
    );
    expect(() => build('smollm', { 'tokenizer.ggml.eos_token_id': 9999 })).toThrow(/eos_token_id' to be below 760/);
    expect(ggufTokenizerFiles({}, 'm.gguf')).toBeNull();
  });
});

describe('SmolLM2, from its GGUF file', () => {
  const golden = goldenJson<{
    texts: string[];
    ids: number[][];
    decoded: string[];
    chats: { messages: { role: string; content: string }[]; text: string; tokens: number[] }[];
  }>('smollm2.json');
  let path: string | null = null;
  let reason = '';
  beforeAll(async () => {
    try {
      path = (await fetchModel('smollm2-135m-instruct')).path;
    } catch (error) {
      reason = (error as Error).message;
    }
  }, 600_000);

  test('gives the ids of the reference for text, digits, white space, scripts and rendered chats', async ({ skip }) => {
    if (path === null) return skip(reason);
    const { tokenizer, chatTemplate, weights } = await resolveModel(path);
    weights.close();
    for (const [index, text] of golden.texts.entries()) {
      expect(tokenizer!.encode(text), text).toEqual(golden.ids[index]);
      expect(tokenizer!.decode(golden.ids[index]!, { skipSpecialTokens: false })).toBe(golden.decoded[index]);
    }
    for (const { messages, text, tokens } of golden.chats) {
      expect(chatTemplate!.render(messages, { addGenerationPrompt: true })).toBe(text);
      expect(tokenizer!.encode(text, { addSpecialTokens: false })).toEqual(tokens);
    }
    expect(tokenizer!.eosTokenIds).toEqual([2]);
    expect(tokenizer!.vocabSize).toBe(49152);
  });
});
