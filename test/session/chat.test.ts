// Conversations: the model's own format, and only what is new is computed.
import { loadModel, type GenerateOptions, type GenerateResult, type Model } from '../../lib/index.js';
import type { Chat } from '../../lib/index.js';
import { testDevices } from '../ops/executors.js';

describe.each(testDevices())('on %s', (device) => {
  const few = device !== 'cpu';
  let model: Model;
  beforeAll(async () => {
    model = await loadModel('default', { threads: 1, device });
  });
  afterAll(() => model.dispose());

  const options: GenerateOptions = { temperature: 0, maxTokens: few ? 3 : 16 };
  async function say(chat: Chat, text: string, given = options): Promise<GenerateResult> {
    const iterator = chat.send(text, given);
    for (let next = await iterator.next(); ; next = await iterator.next()) if (next.done) return next.value;
  }

  test('a turn costs only what is new, and says what a fresh chat with the same past says', async () => {
    using chat = model.createChat({ system: 'You are a poet.' });
    const first = await say(chat, 'Tell me about the sea.');
    expect(first.usage.cachedTokens).toBe(0);
    expect(chat.messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant']);
    expect(chat.messages[2].content).toBe(first.text);
    const past = [...chat.messages];
    const second = await say(chat, 'And the wind?');
    expect(second.usage.cachedTokens).toBeGreaterThanOrEqual(first.usage.promptTokens - 1);
    using fresh = model.createChat({ messages: past, prefixCache: false });
    expect(await say(fresh, 'And the wind?')).toMatchObject({
      text: second.text,
      usage: { promptTokens: second.usage.promptTokens, cachedTokens: 0 },
    });
  });

  test('a turn that fails or is aborted has not been; one that is left early stays as far as it was seen', async () => {
    using chat = model.createChat();
    await say(chat, 'Hello.');
    const { length } = chat.messages;
    const aborted = await say(chat, 'More.', { ...options, signal: AbortSignal.abort() });
    expect(aborted.finishReason).toBe('abort');
    expect(chat.messages).toHaveLength(length);
    let seen = '';
    for await (const piece of chat.send('Tell me a story.', { ...options, maxTokens: few ? 8 : 60 })) {
      seen += piece.text;
      if (seen.length > (few ? 2 : 5)) break;
    }
    expect(chat.messages).toHaveLength(length + 2);
    expect(chat.messages.at(-1)?.content).toBe(seen);
    expect((await say(chat, 'Go on.')).usage.cachedTokens).toBeGreaterThan(0);
  });

  test('messages cannot forge control tokens', async () => {
    using chat = model.createChat();
    const forged = [...model.tokenizer.endOfGeneration].map((token) => model.tokenizer.tokenText(token)).join('');
    await say(chat, `Before ${forged} after`);
    const own = chat.session.tokens.filter((token) => model.tokenizer.endOfGeneration.has(token)).length;
    using plain = model.createChat();
    await say(plain, 'Before after');
    expect(own).toBe(plain.session.tokens.filter((token) => model.tokenizer.endOfGeneration.has(token)).length);
  });

  test('a template of the caller is used, and a broken one is named', async () => {
    using chat = model.createChat({
      template: '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:',
    });
    await say(chat, 'Hi', { ...options, maxTokens: 2 });
    expect(model.tokenizer.decode(chat.session.tokens)).toMatch(/^user: Hi\nassistant:/);
    using broken = model.createChat({ template: '{% for %}' });
    expect(() => broken.send('Hi')).toThrow(expect.objectContaining({ code: 'TEMPLATE_ERROR' }));
  });

  test('a conversation that outgrows the context is refused with figures', async () => {
    using chat = model.createChat({ contextLength: 64 });
    expect(() => chat.send('word '.repeat(100))).toThrow(expect.objectContaining({ code: 'CONTEXT_FULL' }));
    expect(() => chat.send('Hi', { maxTokens: 64 })).toThrow(expect.objectContaining({ code: 'CONTEXT_FULL' }));
    expect((await say(chat, 'Hi', few ? options : { temperature: 0 })).usage.promptTokens).toBeGreaterThan(0);
  });

  test('wrong options are found', () => {
    const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT' });
    expect(() => model.createChat({ sytem: 'x' } as never)).toThrow(
      expect.objectContaining({ remedy: 'Did you mean `system`?' }),
    );
    expect(() => model.createChat({ system: 5 } as never)).toThrow(refused);
    expect(() => model.createChat({ template: '' })).toThrow(refused);
    expect(() => model.createChat({ messages: [{ content: 'x' }] } as never)).toThrow(refused);
    using chat = model.createChat();
    expect(() => chat.send(5 as never)).toThrow(refused);
    expect(() => chat.send('x', { temperature: -1 })).toThrow(refused);
  });
});
