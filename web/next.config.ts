import type { NextConfig } from 'next';

const config: NextConfig = {
  // Files that any web server can serve: the service itself does.
  output: 'export',
  trailingSlash: true,
  reactStrictMode: true,
};

export default config;
