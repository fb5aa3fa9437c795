// Runs a template's syntax tree with Python's semantics, in a bounded number of steps.
//
// The library's own interpreter differs from Jinja2 where templates notice: it prints true and JSON instead of True and
// Python's repr, compares 1 == "1", carries variables from one loop turn to the next, has no list.append or strip(chars),
// and no bound on its work.
import { binary, memberOf, slice, unary } from './operators.js';
import { Budget } from './budget.js';
import { TemplateFault } from './fault.js';
import { applyFilter } from './filters.js';
import { str } from './print.js';
import { TEST_PREFIX, type CallNode, type IdentifierNode, type Node } from './syntax.js';
import { applyTest } from './tests.js';
import {
  Callable,
  dictKey,
  Float,
  iterate,
  kind,
  listOf,
  Loop,
  Namespace,
  truth,
  Tuple,
  Undefined,
  type Arguments,
  type Dict,
  type Value,
} from './values.js';

class Scope {
  readonly variables = new Map<string, Value>();
  constructor(readonly parent?: Scope) {}

  get(name: string): Value {
    for (let scope: Scope | undefined = this; scope; scope = scope.parent) {
      const value = scope.variables.get(name);
      if (value !== undefined) return value;
    }
    return new Undefined(name);
  }
}

/** How a block ended. */
type Signal = 'break' | 'continue' | undefined;

export class Interpreter {
  constructor(private readonly budget: Budget) {}

  render(program: Node, variables: ReadonlyMap<string, Value>): string {
    const globals = new Scope();
    for (const [name, value] of variables) globals.variables.set(name, value);
    return this.block(program.type === 'Program' ? program.body : [program], new Scope(globals));
  }

  /** The text of some nodes. */
  private block(nodes: readonly Node[], scope: Scope): string {
    const out: string[] = [];
    this.run(nodes, scope, out);
    return out.join('');
  }

  private run(nodes: readonly Node[], scope: Scope, out: string[]): Signal {
    for (const node of nodes) {
      this.budget.spend(1);
      switch (node.type) {
        case 'Comment':
          break;
        case 'Break':
          return 'break';
        case 'Continue':
          return 'continue';
        case 'If': {
          const signal = this.run(truth(this.value(node.test, scope)) ? node.body : node.alternate, scope, out);
          if (signal) return signal;
          break;
        }
        case 'For':
          this.loop(node, scope, out, 0);
          break;
        case 'Set':
          this.set(node, scope);
          break;
        case 'Macro':
          scope.variables.set(node.name.value, this.macro(node.name.value, node.args, node.body, scope));
          break;
        case 'CallStatement':
          out.push(this.budget.text(str(this.callBlock(node, scope))));
          break;
        case 'FilterStatement':
          out.push(this.budget.text(str(this.filter(this.block(node.body, new Scope(scope)), node.filter, scope))));
          break;
        default:
          out.push(this.budget.text(str(this.value(node, scope))));
      }
    }
    return undefined;
  }

  private loop(node: Extract<Node, { type: 'For' }>, scope: Scope, out: string[], depth: number, over?: Value): void {
    const select = node.iterable.type === 'SelectExpression' ? node.iterable : undefined;
    let items = iterate(over ?? this.value(select ? select.lhs : node.iterable, scope));
    this.budget.spend(items.length);
    if (select) {
      items = items.filter((item) => {
        const inner = new Scope(scope);
        this.assign(node.loopvar, item, inner);
        return truth(this.value(select.test, inner));
      });
    }
    if (items.length === 0) {
      this.run(node.defaultBlock, new Scope(scope), out);
      return;
    }
    const state = new Loop(items, depth, (inner) =>
      this.budget.nested(() => {
        const text: string[] = [];
        this.loop(node, scope, text, depth + 1, inner);
        return text.join('');
      }),
    );
    for (; state.index0 < items.length; state.index0++) {
      const turn = new Scope(scope);
      turn.variables.set('loop', state);
      this.assign(node.loopvar, items[state.index0], turn);
      if (this.run(node.body, turn, out) === 'break') break;
    }
  }

  private set(node: Extract<Node, { type: 'Set' }>, scope: Scope): void {
    if (node.value) {
      this.assign(node.assignee, this.value(node.value, scope), scope);
      return;
    }
    const text = this.block(node.body, new Scope(scope));
    // {% set name | filter %} … {% endset %}
    if (node.assignee.type === 'FilterExpression') {
      this.assign(node.assignee.operand, this.filter(text, node.assignee.filter, scope), scope);
    } else this.assign(node.assignee, text, scope);
  }

  private assign(target: Node, value: Value, scope: Scope): void {
    if (target.type === 'Identifier') scope.variables.set(target.value, value);
    else if (target.type === 'TupleLiteral') {
      const items = iterate(value);
      if (items.length !== target.value.length) {
        throw new TemplateFault(`cannot unpack ${items.length} values into ${target.value.length} names`);
      }
      target.value.forEach((name, i) => this.assign(name, items[i], scope));
    } else if (target.type === 'MemberExpression' && target.property.type === 'Identifier' && !target.computed) {
      const object = this.value(target.object, scope);
      if (!(object instanceof Namespace)) throw new TemplateFault('cannot assign attribute on non-namespace object');
      object.fields.set(target.property.value, value);
    } else throw new TemplateFault('cannot assign to this expression');
  }

  private macro(name: string, parameters: readonly Node[], body: readonly Node[], scope: Scope): Callable {
    return new Callable(name, ({ positional, keyword }) =>
      this.budget.nested(() => {
        const inner = new Scope(scope);
        const rest = new Map(keyword);
        const caller = rest.get('caller');
        rest.delete('caller');
        if (caller !== undefined) inner.variables.set('caller', caller);
        parameters.forEach((parameter, i) => {
          const [id, fallback] =
            parameter.type === 'KeywordArgumentExpression' ? [parameter.key, parameter.value] : [parameter];
          if (id.type !== 'Identifier') throw new TemplateFault(`macro '${name}' has a parameter that is no name`);
          const given = positional[i] ?? rest.get(id.value);
          rest.delete(id.value);
          inner.variables.set(id.value, given ?? (fallback ? this.value(fallback, inner) : new Undefined(id.value)));
        });
        inner.variables.set('varargs', new Tuple(positional.slice(parameters.length)));
        inner.variables.set('kwargs', new Map(rest));
        return this.block(body, inner);
      }),
    );
  }

  private callBlock(node: Extract<Node, { type: 'CallStatement' }>, scope: Scope): Value {
    const callee = this.value(node.call.callee, scope);
    const { positional, keyword } = this.args(node.call.args, scope);
    const caller = this.macro('caller', node.callerArgs ?? [], node.body, scope);
    return this.call(callee, { positional, keyword: new Map([...keyword, ['caller', caller]]) }, node.call.callee);
  }

  private value(node: Node, scope: Scope): Value {
    this.budget.spend(1);
    switch (node.type) {
      case 'IntegerLiteral':
      case 'StringLiteral':
        return node.value;
      case 'FloatLiteral':
        return new Float(node.value);
      case 'ArrayLiteral':
        return node.value.map((item) => this.value(item, scope));
      case 'TupleLiteral':
        return new Tuple(node.value.map((item) => this.value(item, scope)));
      case 'ObjectLiteral':
        return this.dict(node.value, scope);
      case 'Identifier':
        return scope.get(node.value);
      case 'MemberExpression':
        return this.member(node, scope);
      case 'CallExpression':
        return this.call(this.value(node.callee, scope), this.args(node.args, scope), node.callee);
      case 'UnaryExpression':
        return unary(node.operator.value, this.value(node.argument, scope));
      case 'BinaryExpression':
        return this.binary(node, scope);
      case 'FilterExpression':
        return this.filter(this.value(node.operand, scope), node.filter, scope);
      case 'TestExpression':
        return applyTest(node.test.value, this.value(node.operand, scope), []) !== node.negate;
      case 'Ternary':
        return this.value(truth(this.value(node.condition, scope)) ? node.trueExpr : node.falseExpr, scope);
      case 'SelectExpression':
        return truth(this.value(node.test, scope)) ? this.value(node.lhs, scope) : new Undefined('the else branch');
      default:
        throw new TemplateFault(`a ${node.type} cannot stand here`);
    }
  }

  private dict(pairs: ReadonlyMap<Node, Node>, scope: Scope): Dict {
    const dict: Dict = new Map();
    for (const [key, item] of pairs) dict.set(dictKey(this.value(key, scope)), this.value(item, scope));
    return dict;
  }

  private member(node: Extract<Node, { type: 'MemberExpression' }>, scope: Scope): Value {
    const object = this.value(node.object, scope);
    const { property } = node;
    if (property.type === 'SliceExpression') {
      const [start, stop, step] = [property.start, property.stop, property.step].map(
        (part) => part && this.value(part, scope),
      );
      this.budget.spend(listOf(object)?.length ?? 1);
      return slice(object, start, stop, step);
    }
    if (!node.computed && property.type === 'Identifier') return memberOf(object, property.value, true);
    return memberOf(object, this.value(property, scope), false);
  }

  private binary(node: Extract<Node, { type: 'BinaryExpression' }>, scope: Scope): Value {
    const left = this.value(node.left, scope);
    const operator = node.operator.value;
    if (operator === 'and') return truth(left) ? this.value(node.right, scope) : left;
    if (operator === 'or') return truth(left) ? left : this.value(node.right, scope);
    return this.budget.value(binary(operator, left, this.value(node.right, scope), this.budget));
  }

  private filter(operand: Value, filter: IdentifierNode | CallNode, scope: Scope): Value {
    const id = filter.type === 'CallExpression' ? filter.callee : filter;
    if (id.type !== 'Identifier') throw new TemplateFault('a filter must be a name');
    const args: Arguments = filter.type === 'CallExpression' ? this.args(filter.args, scope) : NO_ARGUMENTS;
    if (id.value.startsWith(TEST_PREFIX)) {
      const test = id.value.slice(TEST_PREFIX.length);
      const negate = test.startsWith('not ');
      return applyTest(negate ? test.slice(4) : test, operand, args.positional) !== negate;
    }
    return this.budget.value(applyFilter(id.value, operand, args, this.budget));
  }

  private args(nodes: readonly Node[], scope: Scope): Arguments {
    const positional: Value[] = [];
    const keyword = new Map<string, Value>();
    for (const node of nodes) {
      if (node.type === 'KeywordArgumentExpression') keyword.set(node.key.value, this.value(node.value, scope));
      else if (node.type === 'SpreadExpression') positional.push(...iterate(this.value(node.argument, scope)));
      else if (node.type === 'KeywordSpreadExpression') {
        const fields = this.value(node.argument, scope);
        if (!(fields instanceof Map)) throw new TemplateFault('argument after ** must be a mapping');
        for (const [key, item] of fields) keyword.set(String(key), item);
      } else positional.push(this.value(node, scope));
    }
    return { positional, keyword };
  }

  private call(callee: Value, args: Arguments, node: Node): Value {
    if (callee instanceof Callable) return this.budget.value(callee.call(args));
    if (callee instanceof Loop) return callee.recurse(args.positional[0] ?? []);
    if (callee instanceof Undefined) throw new TemplateFault(`'${nameOf(node)}' is undefined`);
    throw new TemplateFault(`'${kind(callee)}' object is not callable`);
  }
}

const NO_ARGUMENTS: Arguments = { positional: [], keyword: new Map() };

function nameOf(node: Node): string {
  if (node.type === 'Identifier') return node.value;
  return node.type === 'MemberExpression' ? nameOf(node.property) : node.type;
}
