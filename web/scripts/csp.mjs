// Says in every HTML file of a build what the page may do (Content Security Policy, Level 3): load
// from its own origin, talk to the service, and run the inline scripts that the build itself wrote.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import nextEnv from '@next/env';

const INLINE_SCRIPT = /<script(?![^>]*\ssrc=)[^>]*>([^]*?)<\/script>/g;

const [dir] = process.argv.slice(2);
// The service's origin as the build has seen it: of the environment, or of an .env file.
nextEnv.loadEnvConfig(process.cwd(), false, { info() {}, error: console.error });
const service = process.env.NEXT_PUBLIC_API_BASE_URL;
const connect = service?.startsWith('http') ? `'self' ${new URL(service).origin}` : "'self'";

for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !entry.name.endsWith('.html')) continue;
  const path = join(entry.parentPath, entry.name);
  const html = readFileSync(path, 'utf8');
  const hashes = Array.from(html.matchAll(INLINE_SCRIPT), ([, script]) => {
    return `'sha256-${createHash('sha256').update(script).digest('base64')}'`;
  });
  const policy = [
    "default-src 'none'",
    ["script-src 'self'", ...new Set(hashes)].join(' '),
    "style-src 'self'",
    "img-src 'self'",
    `connect-src ${connect}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  const meta = `<meta http-equiv="Content-Security-Policy" content="${policy}"/>`;
  const parts = html.split('<head>');
  if (parts.length !== 2) throw new Error(`${path} has not one <head>`);
  writeFileSync(path, parts.join(`<head>${meta}`));
}
