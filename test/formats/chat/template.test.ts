// Chat templates: the known shapes for one to five messages, and messages fitted to what a template can take.
import {
  chooseTemplate,
  renderChat,
  type ChatInput,
  type ChatMessage,
} from '../../../lib/formats/chat/chat-template.js';
import { capabilitiesOf } from '../../../lib/formats/chat/capabilities.js';
import { CHATML, GEMMA, LLAMA3, MISTRAL, PHI3, TOOLS, TYPED } from './templates.js';
import { cpuSeconds } from '../tokenizer/toys.js';

const TALK: ChatMessage[] = [
  { role: 'user', content: 'Hi!' },
  { role: 'assistant', content: 'Hello.' },
  { role: 'user', content: 'Who are you?' },
  { role: 'assistant', content: 'A model.' },
  { role: 'user', content: 'Thanks' },
];
const tokens = { bosToken: '<s>', eosToken: '</s>' };
const render = (template: string, messages: readonly ChatMessage[], more: Partial<ChatInput> = {}): string =>
  renderChat(template, { messages, ...tokens, ...more });

interface Shape {
  template: string;
  user: (text: string) => string;
  assistant: (text: string) => string;
  head: string;
  prompt: string;
}

const SHAPES: Record<string, Shape> = {
  chatml: {
    template: CHATML,
    user: (text) => `<|im_start|>user\n${text}<|im_end|>\n`,
    assistant: (text) => `<|im_start|>assistant\n${text}<|im_end|>\n`,
    head: '',
    prompt: '<|im_start|>assistant\n',
  },
  llama3: {
    template: LLAMA3,
    user: (text) => `<|start_header_id|>user<|end_header_id|>\n\n${text}<|eot_id|>`,
    assistant: (text) => `<|start_header_id|>assistant<|end_header_id|>\n\n${text}<|eot_id|>`,
    head: '<s>',
    prompt: '<|start_header_id|>assistant<|end_header_id|>\n\n',
  },
  gemma: {
    template: GEMMA,
    user: (text) => `<start_of_turn>user\n${text}<end_of_turn>\n`,
    assistant: (text) => `<start_of_turn>model\n${text}<end_of_turn>\n`,
    head: '<s>',
    prompt: '<start_of_turn>model\n',
  },
  phi3: {
    template: PHI3,
    user: (text) => `<|user|>\n${text}<|end|>\n`,
    assistant: (text) => `<|assistant|>\n${text}<|end|>\n`,
    head: '',
    prompt: '<|assistant|>\n',
  },
  mistral: {
    template: MISTRAL,
    user: (text) => `[INST] ${text} [/INST]`,
    assistant: (text) => `${text}</s>`,
    head: '<s>',
    prompt: '',
  },
};

describe.each(Object.entries(SHAPES))('%s', (_, shape) => {
  const turn = ({ role, content }: ChatMessage): string =>
    role === 'user' ? shape.user(String(content)) : shape.assistant(String(content));

  test.each([1, 2, 3, 4, 5])('%i messages', (count) => {
    const messages = TALK.slice(0, count);
    const body = shape.head + messages.map(turn).join('');
    expect(render(shape.template, messages)).toBe(body + shape.prompt);
    const end = shape.template === PHI3 ? '</s>' : '';
    expect(render(shape.template, messages, { addGenerationPrompt: false })).toBe(body + end);
  });

  test('a system text comes out, as a role or in the first user turn', () => {
    const text = render(shape.template, [{ role: 'system', content: 'Be brief.' }, ...TALK.slice(0, 1)]);
    if (capabilitiesOf(shape.template).system) {
      expect(text).toContain('Be brief.');
      expect(text).toContain(shape.user('Hi!'));
    } else expect(text).toBe(shape.head + shape.user('Be brief.\n\nHi!') + shape.prompt);
  });
});

test('which of the shapes know a system role', () => {
  const able = Object.fromEntries(
    Object.entries(SHAPES).map(([name, { template }]) => [name, capabilitiesOf(template).system]),
  );
  expect(able).toEqual({ chatml: true, llama3: true, gemma: false, phi3: true, mistral: false });
});

test('a system text alone becomes the user turn', () => {
  expect(render(GEMMA, [{ role: 'system', content: 'Say yes.' }])).toContain('user\nSay yes.<end_of_turn>');
});

describe('contents', () => {
  const parts = [
    { type: 'text', text: 'one ' },
    { type: 'text', text: 'two' },
  ];

  test('parts become text where the template takes text', () => {
    expect(render(CHATML, [{ role: 'user', content: parts }])).toContain('user\none two<|im_end|>');
  });

  test('text becomes a part where the template takes parts', () => {
    expect(capabilitiesOf(TYPED).typedContent).toBe('needed');
    expect(render(TYPED, [{ role: 'user', content: 'x' }])).toBe('<|user|>x');
    expect(render(TYPED, [{ role: 'user', content: [{ type: 'image' }, ...parts] }])).toBe('<|user|><image>one two');
  });

  test('an image is refused where the template takes text', () => {
    const message = { role: 'user', content: [{ type: 'image', image: 'x.png' }] };
    expect(() => render(CHATML, [message])).toThrow(expect.objectContaining({ code: 'UNSUPPORTED_FEATURE' }));
  });

  test('malformed messages are refused by place', () => {
    const wrong = [{ role: 'user', content: 5 }] as unknown as ChatMessage[];
    const message = expect.stringContaining('messages[0].content');
    expect(() => render(CHATML, wrong)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', message }));
    expect(() => render(CHATML, [{ role: '' }])).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});

describe('tools', () => {
  const tools = [
    { type: 'function', function: { name: 'weather', description: 'Wéather', parameters: { type: 'object' } } },
  ];
  const call = (args: unknown): ChatMessage => ({
    role: 'assistant',
    content: null,
    tool_calls: [{ id: '1', type: 'function', function: { name: 'weather', arguments: args } }],
  });

  test('their schemas keep order and characters', () => {
    expect(render(TOOLS, TALK.slice(0, 1), { tools })).toContain(
      '{"type": "function", "function": {"name": "weather", "description": "Wéather", "parameters": {"type": "object"}}}',
    );
  });

  test('arguments reach the template as it wants them', () => {
    const want = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>';
    expect(render(TOOLS, [TALK[0], call({ city: 'Oslo' })])).toContain(want);
    expect(render(TOOLS, [TALK[0], call('{"city": "Oslo"}')])).toContain(want);
    const asText = TOOLS.replace(
      'call.function.arguments} | tojson)',
      "'@'} | tojson | replace('\"@\"', call.function.arguments))",
    );
    expect(capabilitiesOf(asText).toolArguments).toBe('text');
    expect(render(asText, [TALK[0], call({ city: 'Oslo' })])).toContain('"arguments": {"city":"Oslo"}');
  });

  test('a template without tools refuses them', () => {
    const code = 'UNSUPPORTED_FEATURE';
    expect(() => render(CHATML, TALK.slice(0, 1), { tools })).toThrow(expect.objectContaining({ code }));
    expect(() => render(CHATML, [TALK[0], call({})])).toThrow(expect.objectContaining({ code }));
  });
});

test('the template says why it refuses a conversation', () => {
  const message = 'Conversation roles must alternate user/assistant/user/assistant/...';
  expect(() => render(GEMMA, [TALK[0], TALK[0]])).toThrow(expect.objectContaining({ code: 'TEMPLATE_ERROR', message }));
});

test('a template that is not Jinja is refused', () => {
  expect(() => render('{% if %}', TALK)).toThrow(expect.objectContaining({ code: 'TEMPLATE_ERROR' }));
});

test('extra variables reach the template', () => {
  const extra = { enable_thinking: false };
  expect(render('{{ enable_thinking }}{{ messages | length }}', TALK.slice(0, 1), { extra })).toBe('False1');
});

test('which template of a model is used', () => {
  expect(chooseTemplate({ default: 'a', tool_use: 'b' })).toBe('a');
  expect(chooseTemplate({ default: 'a', tool_use: 'b' }, { tools: true })).toBe('b');
  expect(chooseTemplate({ default: 'a' }, { tools: true })).toBe('a');
  expect(chooseTemplate({ rag: 'c' })).toBe('c');
  expect(chooseTemplate({})).toBeUndefined();
});

test('twenty messages render in a millisecond once compiled', () => {
  const messages = Array.from({ length: 20 }, (_, i) => TALK[i % 2]);
  render(LLAMA3, messages);
  const seconds = cpuSeconds(() => {
    for (let i = 0; i < 50; i++) render(LLAMA3, messages);
  });
  expect(seconds / 50).toBeLessThan(0.005); // 0.2 ms once the code is warm
});
