import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TokenizerThread } from '../../src/text/tokenizer_thread.js';
import { resolveModel } from '../../src/weights/model_files.js';
import { createEngine, fixtures, type TinyModel, tinyModel } from './tiny_model.js';

const text = 'Two and two make four, and "ünïcödé" is no word. '.repeat(400);

describe('a text that takes long to tokenise', () => {
  let loaded: TinyModel;
  beforeEach(async () => {
    loaded = await tinyModel('chat');
  });
  afterEach(() => loaded.close());

  it('is tokenised in another thread, to the same tokens, while others go on', async () => {
    const expected = loaded.tokenizer!.encode(text).length;
    const encode = vi.spyOn(loaded.tokenizer!, 'encode');
    const engine = createEngine(loaded);
    const short = { prompt: 'One', sampling: { maxTokens: 60, ignoreEos: true } };
    const [[before], [long, after]] = await Promise.all([
      engine.generateAll([{ id: 'a', ...short }]),
      engine.generateAll([
        { id: 'long', prompt: text },
        { id: 'a', ...short },
      ]),
    ]);
    expect(encode.mock.calls.map(([text]) => text)).toEqual(['One', 'One']);
    expect([long!.finishReason, long!.promptTokens]).toEqual(['error', expected]);
    expect(after).toEqual(before);
    await engine.close();
  });

  it('is rendered there as well where it is a conversation, with the template that the model was opened with', async () => {
    const messages = Array.from({ length: 30 }, (_, i) => ({
      role: i % 2 ? 'assistant' : 'user',
      content: text.slice(0, 300),
    }));
    const chatTemplate = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}";
    const other = await resolveModel(`${fixtures}/models/chat`, { chatTemplate });
    other.weights.close();
    const lengths: number[] = [];
    for (const files of [loaded.files, other]) {
      const { tokenizer } = files;
      const rendered = files.chatTemplate!.render(messages, { addGenerationPrompt: true });
      lengths.push(tokenizer!.encode(rendered, { addSpecialTokens: false }).length);
      const render = vi.spyOn(files.chatTemplate!, 'render');
      const engine = createEngine({ ...loaded, ...files, files });
      const [long] = await engine.generateAll([{ id: 'long', prompt: messages }]);
      expect(long!.promptTokens).toBe(lengths.at(-1)!);
      expect(render).not.toHaveBeenCalled();
      await engine.close();
    }
    expect(lengths[0]).not.toBe(lengths[1]);
  });

  // A thread that starts takes far longer than a turn of the event loop.
  it('leaves nothing behind when its call is aborted meanwhile', async () => {
    const engine = createEngine(loaded);
    const controller = new AbortController();
    setImmediate(() => controller.abort());
    expect(await engine.generateAll([text], {}, { signal: controller.signal })).toEqual([]);
    engine.checkIntegrity();
    expect(engine.statistics().finished.aborted + engine.statistics().waiting).toBe(0);
    await engine.close();
  });

  it('ends when the engine is closed meanwhile', async () => {
    const engine = createEngine(loaded);
    const closed = expect(engine.generateAll([text])).rejects.toThrow('The engine is closed');
    await new Promise(setImmediate);
    await engine.close();
    await closed;
  });
});

describe('TokenizerThread', () => {
  it('says what it cannot do, each time', async () => {
    const thread = new TokenizerThread(`${fixtures}/models/nowhere`);
    for (const text of ['a', 'b'])
      await expect(thread.encode({ text, addSpecialTokens: true })).rejects.toThrow('nowhere');
    await thread.close();
  });

  it('fails what is under way when it is closed', async () => {
    const thread = new TokenizerThread(`${fixtures}/models/chat`);
    const ended = expect(thread.encode({ text, addSpecialTokens: true })).rejects.toThrow('ended');
    await thread.close();
    await ended;
  });
});
