// `vivace chat [model]`: a conversation at the terminal, or one turn per line of standard input.
import { createInterface, type Interface } from 'node:readline';
import { Command } from 'commander';
import type { Chat } from '../session/chat.js';
import type { GenerateOptions } from '../decode/options.js';
import {
  addCacheOptions,
  addGenerationOptions,
  addJsonOption,
  addModelOptions,
  generationOptions,
  sessionOptions,
  type CacheFlags,
  type ModelOptions,
} from './arguments.js';
import { open, title } from './opened.js';
import {
  addSpeculationOptions,
  checkSpeculation,
  draftersOf,
  openSpeculation,
  type SpeculationFlags,
} from './speculation/options.js';
import { withFound } from './speculation/verifiers.js';
import { explain, printJson, say, style } from './terminal.js';

interface Options extends ModelOptions, SpeculationFlags, CacheFlags {
  readonly system?: string;
  readonly json?: boolean;
}

export function chatCommand(): Command {
  const command = new Command('chat')
    .description('talk with a model; Ctrl-C stops an answer, a second one leaves')
    .argument('[model]', 'GGUF file or Hugging Face directory (default: the embedded model)')
    .option('--system <text>', 'what the model is told before the conversation');
  addJsonOption(addModelOptions(addSpeculationOptions(addCacheOptions(addGenerationOptions(command)))));
  return command.action(async (path: string | undefined, options: Options) => {
    checkSpeculation(options, draftersOf(options));
    const opened = await open(path, options, options.json === true);
    try {
      const chat = opened.model.createChat({
        ...sessionOptions(options),
        ...(options.system === undefined ? {} : { system: options.system }),
      });
      if (options.json !== true) say(title(opened), 'dim');
      const { speculation, dispose } = await openSpeculation(withFound(options, opened.path), opened.model);
      const generation = {
        ...generationOptions({ ...options }),
        ...(speculation === undefined ? {} : { speculation }),
      };
      await new Conversation(chat, generation, options.json === true).run().finally(dispose);
    } finally {
      opened.model.dispose();
    }
  });
}

class Conversation {
  private readonly atTerminal = process.stdin.isTTY === true && process.stderr.isTTY === true;
  private readonly lines: Interface;
  /** Of the answer that is being written. */
  private answering: AbortController | undefined;
  /** Ctrl-C was pressed since the last line. */
  private warned = false;

  constructor(
    private readonly chat: Chat,
    private readonly options: GenerateOptions,
    private readonly json: boolean,
  ) {
    this.lines = createInterface({ input: process.stdin, output: process.stderr, terminal: this.atTerminal });
    this.lines.setPrompt(style(process.stderr, 'green', '> '));
  }

  /** Until the input ends or Ctrl-C is pressed twice. */
  async run(): Promise<void> {
    // At a terminal readline hears Ctrl-C; otherwise the process gets the signal.
    const interrupt = (): void => this.interrupt();
    this.lines.on('SIGINT', interrupt);
    process.on('SIGINT', interrupt);
    try {
      this.ask();
      for await (const line of this.lines) {
        this.warned = false;
        if (line.trim() !== '') await this.turn(line);
        this.ask();
      }
    } finally {
      process.off('SIGINT', interrupt);
      this.lines.close();
    }
  }

  private ask(): void {
    if (this.atTerminal) this.lines.prompt();
  }

  private interrupt(): void {
    if (this.answering !== undefined && !this.warned) this.answering.abort();
    else if (this.warned || !this.atTerminal) {
      this.answering?.abort();
      this.lines.close();
    } else {
      say('\nCtrl-C once more, or Ctrl-D, leaves.', 'dim');
      this.ask();
    }
    this.warned = true;
  }

  private async turn(line: string): Promise<void> {
    const controller = (this.answering = new AbortController());
    try {
      const answer = this.chat.send(line, { ...this.options, signal: controller.signal });
      for await (const { text } of answer) if (!this.json) process.stdout.write(text);
      if (this.json) this.printTurn();
      else process.stdout.write('\n');
      if (controller.signal.aborted) say('stopped', 'yellow');
    } catch (error) {
      // A person can go on; whoever pipes lines in must hear of it.
      if (!this.atTerminal) throw error;
      say(`${style(process.stderr, 'red', 'error:')} ${explain(error)}`);
    } finally {
      this.answering = undefined;
    }
  }

  private printTurn(): void {
    const result = this.chat.lastResult;
    if (result === undefined) return;
    const { text, tokens, usage, finishReason, timings, speculation } = result;
    printJson({
      text,
      tokens,
      promptTokens: usage.promptTokens,
      cachedTokens: usage.cachedTokens,
      sharedTokens: usage.sharedTokens,
      finishReason,
      ...(speculation === undefined ? {} : { speculation }),
      timings: {
        prefillMs: timings.promptMs,
        decodeMs: timings.completionMs,
        prefillTokensPerSecond: timings.promptTokensPerSecond,
        decodeTokensPerSecond: timings.completionTokensPerSecond,
      },
    });
  }
}
