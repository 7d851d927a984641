/** What the tests of the page themselves must keep, so that they pass on a slow machine, too. */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import ts from 'typescript';

/** These read what a page shows at one moment, which on a slow machine is not yet what it will show. */
const READS = [
  'allInnerTexts',
  'allTextContents',
  'boundingBox',
  'count',
  'evaluateAll',
  'getAttribute',
  'innerHTML',
  'innerText',
  'inputValue',
  'isChecked',
  'isDisabled',
  'isEditable',
  'isEnabled',
  'isHidden',
  'isVisible',
  'shownIds',
  'textContent',
  'title',
];

/** These read until it is what is awaited, or say that this moment is meant. */
const READERS = ['becomes', 'eventually', 'stands', 'atOnce'];

/** Buttons that are there between two tries only. */
const FLEETING = ['Ask again now', 'Change the payment', 'Ask later'];

const FOLDER = import.meta.dirname;
const FILES = readdirSync(FOLDER).filter((name) => name.endsWith('.test.ts'));

/** The places in a test file where a rule is broken. */
function broken(file: string, text: string): string[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const blame = (node: ts.Node, why: string) => {
    const { line } = source.getLineAndCharacterOfPosition(node.getStart());
    found.push(`${file}:${line + 1}: ${why}: ${node.getText().slice(0, 80)}`);
  };
  // A function that reads is a read itself.
  const reads = new Set(READS);
  for (let before = -1; before !== reads.size;) {
    before = reads.size;
    walk(source, (node) => {
      const name = nameOfCalled(node);
      if (name === undefined || !reads.has(name) || isAwaited(node)) return;
      const owner = namedAround(node);
      if (owner) reads.add(owner);
    });
  }
  walk(source, (node) => {
    const name = nameOfCalled(node);
    if (name === undefined) return;
    const isOnce = reads.has(name) && !isAwaited(node) && !namedAround(node);
    if (isOnce) blame(node, 'read once');
    if (name === 'evaluate' && isIn(node, isAssertion) && !isAwaited(node))
      blame(node, 'read once');
    const isPress = name === 'click' || name === 'press';
    if (isPress && FLEETING.some((it) => node.getText().includes(it)))
      blame(node, 'it may be gone before the press: betweenTries');
  });
  return found;
}

function walk(node: ts.Node, visit: (node: ts.Node) => void) {
  visit(node);
  node.forEachChild((child) => walk(child, visit));
}

function nameOfCalled(node: ts.Node): string | undefined {
  if (!ts.isCallExpression(node)) return undefined;
  const { expression } = node;
  if (ts.isIdentifier(expression)) return expression.text;
  return ts.isPropertyAccessExpression(expression) ? expression.name.text : undefined;
}

function isAssertion(node: ts.Node): boolean {
  return ts.isCallExpression(node) && /^assert\b/.test(node.expression.getText());
}

/** Whether it is done again and again until it is so. */
function isAwaited(node: ts.Node): boolean {
  return isIn(node, (it) => READERS.includes(nameOfCalled(it) ?? ''));
}

function isIn(node: ts.Node, is: (node: ts.Node) => boolean): boolean {
  for (let it = node.parent; it; it = it.parent) if (is(it)) return true;
  return false;
}

/** The function with a name that it is the outcome of; a test has none. */
function namedAround(node: ts.Node): string | undefined {
  for (let it = node.parent; it; it = it.parent) {
    if (ts.isFunctionDeclaration(it)) return it.name?.text;
    if (!ts.isArrowFunction(it)) continue;
    if (ts.isVariableDeclaration(it.parent)) return it.parent.name.getText();
    // Others belong to what they are given to.
  }
  return undefined;
}

test('what is read of a page is awaited, and what is pressed is there', () => {
  const all = FILES.flatMap((name) => broken(name, readFileSync(path.join(FOLDER, name), 'utf8')));
  assert.deepEqual(all, []);
});

test('tests with pages are those of the harness, which closes the pages and tells what they were like', () => {
  const others = FILES.filter((name) => {
    const text = readFileSync(path.join(FOLDER, name), 'utf8');
    return /\bnewPage\b/.test(text) && /from 'node:test'/.test(text);
  });
  assert.deepEqual(others, []);
});

test('reads that nobody awaits are found, also behind a name', () => {
  const read = "await becomes(() => page.title(), 'x'); assert.equal(await page.title(), 'x');";
  assert.equal(broken('x', `test('it', async () => { ${read} });`).length, 1);
  const named = "const name = () => page.title(); assert.equal(await name(), 'x');";
  assert.equal(broken('x', `test('it', async () => { ${named} });`).length, 1);
  const pressed = "page.getByRole('button', { name: 'Ask later' }).click();";
  assert.equal(broken('x', `test('it', async () => { ${pressed} });`).length, 1);
});
