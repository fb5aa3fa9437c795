// Templates to syntax trees: @huggingface/jinja reads them, with what its parser lacks rewritten in the token stream.
import { TemplateFault } from './fault.js';

export type Node =
  | { type: 'Program'; body: Node[] }
  | { type: 'If'; test: Node; body: Node[]; alternate: Node[] }
  | { type: 'For'; loopvar: Node; iterable: Node; body: Node[]; defaultBlock: Node[] }
  | { type: 'Break' | 'Continue' | 'Comment' }
  | { type: 'Set'; assignee: Node; value: Node | null; body: Node[] }
  | { type: 'Macro'; name: IdentifierNode; args: Node[]; body: Node[] }
  | { type: 'CallStatement'; call: CallNode; callerArgs: Node[] | null; body: Node[] }
  | { type: 'FilterStatement'; filter: IdentifierNode | CallNode; body: Node[] }
  | { type: 'MemberExpression'; object: Node; property: Node; computed: boolean }
  | CallNode
  | IdentifierNode
  | { type: 'IntegerLiteral' | 'FloatLiteral'; value: number }
  | { type: 'StringLiteral'; value: string }
  | { type: 'ArrayLiteral' | 'TupleLiteral'; value: Node[] }
  | { type: 'ObjectLiteral'; value: Map<Node, Node> }
  | { type: 'BinaryExpression'; operator: { value: string }; left: Node; right: Node }
  | { type: 'FilterExpression'; operand: Node; filter: IdentifierNode | CallNode }
  | { type: 'SelectExpression'; lhs: Node; test: Node }
  | { type: 'TestExpression'; operand: Node; negate: boolean; test: IdentifierNode }
  | { type: 'UnaryExpression'; operator: { value: string }; argument: Node }
  | { type: 'SliceExpression'; start?: Node; stop?: Node; step?: Node }
  | { type: 'KeywordArgumentExpression'; key: IdentifierNode; value: Node }
  | { type: 'SpreadExpression' | 'KeywordSpreadExpression'; argument: Node }
  | { type: 'Ternary'; condition: Node; trueExpr: Node; falseExpr: Node };

export interface IdentifierNode {
  type: 'Identifier';
  value: string;
}

export interface CallNode {
  type: 'CallExpression';
  callee: Node;
  args: Node[];
}

interface Token {
  value: string;
  type: string;
}

interface Library {
  tokenize(source: string, options: { trim_blocks: boolean; lstrip_blocks: boolean }): Token[];
  parse(tokens: Token[]): Node;
}

/** The library's lexer takes quadratic time on white space; real templates have a few dozen in a row. */
const LONGEST_SPACE = 1000;
const DEEPEST = 200;
const OPENS = /^Open(Paren|SquareBracket|CurlyBracket)$/;
const CLOSES = /^Close(Paren|SquareBracket|CurlyBracket)$/;

/** Name of the function that makes a tuple of one item. */
export const TUPLE = '\0tuple';

/** Prefix of the filter names that stand for tests with arguments. */
export const TEST_PREFIX = '\0is ';

/** Throws what the library throws, or a TemplateFault. */
export function parseTemplate(source: string): Node {
  refuseLongSpace(source);
  // Loaded with the first template. (Its declarations leave out extensions, so tsc finds none.)
  const { tokenize, parse } = require('@huggingface/jinja') as Library;
  // Jinja reads every line ending as \n.
  const tokens = tokenize(source.replace(/\r\n?/g, '\n'), { trim_blocks: true, lstrip_blocks: true });
  refuseDepth(tokens);
  return parse(rewrite(tokens));
}

function refuseLongSpace(source: string): void {
  let run = 0;
  for (let i = 0; i < source.length; i++) {
    const code = source.charCodeAt(i);
    const space = code === 0x20 || (code >= 9 && code <= 13) || (code > 0x7f && /\s/.test(source[i]));
    run = space ? run + 1 : 0;
    if (run > LONGEST_SPACE) throw new TemplateFault(`more than ${LONGEST_SPACE} white-space characters in a row`);
  }
}

/** Keeps the parser's stack and the searches for closing brackets short. */
function refuseDepth(tokens: readonly Token[]): void {
  let depth = 0;
  for (const { type } of tokens) {
    if (OPENS.test(type)) depth++;
    if (CLOSES.test(type)) depth--;
    if (depth > DEEPEST) throw new TemplateFault(`brackets nested more than ${DEEPEST} deep`);
  }
}

/**
 * The parser knows tests without arguments only, no recursive loops, no `(x,)` and no `1e3`. `x is divisibleby 3` becomes
 * a filter of the same precedence, `(x,)` a call; `recursive` is dropped, because every loop can recurse here.
 */
function rewrite(tokens: readonly Token[]): Token[] {
  const out: Token[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i];
    const previous = tokens[i - 1];
    if (isWord(token, 'recursive') && tokens[i + 1]?.type === 'CloseStatement' && previous?.type !== 'OpenStatement')
      continue;
    if (token.type === 'UnaryOperator' && token.value === '+' && previous?.type === 'OpenStatement') continue; // {%+
    if (token.type === 'Comma' && tokens[i + 1]?.type === 'CloseParen') continue;
    if (token.type === 'OpenParen' && isOneTuple(tokens, i)) out.push({ type: 'Identifier', value: TUPLE });
    if (token.type === 'NumericLiteral' && /^e\d+$/i.test(tokens[i + 1]?.value ?? '')) {
      const digits = token.value.includes('.') ? token.value : `${token.value}.0`;
      out.push({ type: 'NumericLiteral', value: digits + tokens[++i].value });
      continue;
    }
    const name = isWord(token, 'is') && previous?.type !== 'Dot' ? i + (isWord(tokens[i + 1], 'not') ? 2 : 1) : 0;
    const end = name > 0 ? argumentEnd(tokens, name + 1) : 0;
    if (end === 0) {
      out.push(token);
      continue;
    }
    const called = tokens[name + 1].type === 'OpenParen' && closing(tokens, name + 1) + 1 === end;
    const inner = tokens.slice(called ? name + 2 : name + 1, called ? end - 1 : end);
    const negated = name === i + 2 ? 'not ' : '';
    out.push({ type: 'Pipe', value: '|' }, { type: 'Identifier', value: TEST_PREFIX + negated + tokens[name].value });
    out.push({ type: 'OpenParen', value: '(' }, ...rewrite(inner), { type: 'CloseParen', value: ')' });
    i = end - 1;
  }
  return out;
}

function isWord(token: Token | undefined, word: string): boolean {
  return token?.type === 'Identifier' && token.value === word;
}

/** Is the bracket at `at` that of `(x,)`: no call, and its only comma the last token inside. */
function isOneTuple(tokens: readonly Token[], at: number): boolean {
  const before = tokens[at - 1];
  const called =
    before?.type === 'Identifier' ? !KEYWORDS.has(before.value) : /^Close(Paren|Square)/.test(before?.type ?? '');
  if (called) return false;
  const end = closing(tokens, at);
  if (tokens[end - 1].type !== 'Comma') return false;
  for (let i = at + 1; i < end - 1; i++) {
    if (OPENS.test(tokens[i].type)) i = closing(tokens, i);
    else if (tokens[i].type === 'Comma') return false;
  }
  return true;
}

const KEYWORDS = new Set(['and', 'or', 'not', 'in', 'is', 'if', 'elif', 'else', 'for', 'set']);
const ENDS_TEST = new Set(['and', 'or', 'else', 'if', 'is', 'in', 'not', 'recursive']);

/** One past the argument of a test that begins at `at`, or 0 where there is none. */
function argumentEnd(tokens: readonly Token[], at: number): number {
  const first = tokens[at];
  if (!first) return 0;
  let end: number;
  if (first.type === 'OpenParen' || first.type === 'OpenSquareBracket' || first.type === 'OpenCurlyBracket') {
    end = closing(tokens, at) + 1;
    if (first.type === 'OpenParen') return end;
  } else if (first.type === 'NumericLiteral' || first.type === 'StringLiteral') end = at + 1;
  else if (first.type === 'Identifier' && !ENDS_TEST.has(first.value)) end = at + 1;
  else return 0;
  for (;;) {
    const next = tokens[end]?.type;
    if (next === 'Dot') end += 2;
    else if (next === 'OpenParen' || next === 'OpenSquareBracket') end = closing(tokens, end) + 1;
    else return end;
  }
}

/** The position of the bracket that closes the one at `at`. */
function closing(tokens: readonly Token[], at: number): number {
  let depth = 0;
  for (let i = at; i < tokens.length; i++) {
    if (OPENS.test(tokens[i].type)) depth++;
    if (CLOSES.test(tokens[i].type) && --depth === 0) return i;
  }
  throw new TemplateFault('a bracket is not closed');
}
