import type { Node } from "./ast.ts";

/**
 * Where cel-go says that a node is: a name at its beginning, a selection at its dot, a call at its opening parenthesis, an operator at
 * itself. The parser here remembers where a node begins and ends; the rest is found in the text between its parts.
 */
export function offsetOf(node: Node): number {
  switch (node.op) {
    case "value":
    case "id":
    case "list":
    case "map":
    case "!_":
    case "-_":
      return node.start;
    case "call":
      return after(node.input, node.start, "(");
    case "rcall":
      return after(node.input, after(node.input, node.args[1].end, node.args[0]), "(");
    case ".":
    case ".?":
      return after(node.input, node.args[0].end, ".");
    case "[]":
    case "[?]":
      return after(node.input, node.args[0].end, "[");
    case "?:":
      return after(node.input, node.args[0].end, "?");
    default:
      return after(node.input, (node.args as readonly [Node, Node])[0].end, node.op);
  }
}

const after = (text: string, from: number, what: string): number => Math.max(text.indexOf(what, from), from);
