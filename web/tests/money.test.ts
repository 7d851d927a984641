/** Dollars as they are typed and shown. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CENTS_MAX, formatCents, parseDollars } from '../src/money';

const cents = (typed: string) => {
  const parsed = parseDollars(typed);
  return parsed.ok ? parsed.cents : parsed.why;
};

test('what a person types as dollars becomes cents', () => {
  const typed = {
    '12': 1200,
    '12.5': 1250,
    '12.50': 1250,
    '.5': 50,
    '0.01': 1,
    '12.': 1200,
    '007': 700,
  };
  for (const [text, expected] of Object.entries(typed)) assert.equal(cents(text), expected, text);
});

test('a dollar sign, thousands and spaces around are understood', () => {
  assert.equal(cents(' $1,234.56 '), 123_456);
  assert.equal(cents('1,000,000'), 100_000_000);
});

test('amounts that a float cannot hold are exact to the cent', () => {
  assert.equal(cents('1.005'), 'A cent is the smallest amount: two digits after the point.');
  assert.equal(cents('4.35'), 435);
  assert.equal(cents('1.15'), 115);
  assert.equal(cents('90071992547409.91'), CENTS_MAX);
  assert.equal(cents('90071992547409.90'), CENTS_MAX - 1);
});

test('nothing, nonsense, less than a cent and more than the ledger holds are refused', () => {
  const typed = [
    '',
    ' ',
    '$',
    '.',
    'ten',
    '1e3',
    '1.2.3',
    '1,23,456',
    '12,50',
    '-5',
    '0',
    '0.00',
    '½',
    '٣',
  ];
  for (const text of typed) assert.equal(parseDollars(text).ok, false, text);
  assert.equal(parseDollars('90071992547409.92').ok, false);
});

test('cents are shown as dollars, below zero too', () => {
  assert.equal(formatCents(0), '$0.00');
  assert.equal(formatCents(5), '$0.05');
  assert.equal(formatCents(123_456), '$1,234.56');
  assert.equal(formatCents(-100_000), '−$1,000.00');
  assert.equal(formatCents(CENTS_MAX), '$90,071,992,547,409.91');
});

test('what is shown can be typed', () => {
  for (const amount of [1, 99, 100, 12_345, 99_999_999, CENTS_MAX])
    assert.equal(cents(formatCents(amount)), amount);
});
