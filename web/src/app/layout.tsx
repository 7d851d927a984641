import type { Metadata, Viewport } from 'next';
import type { ReactNode } from 'react';
import { Header } from './Header';
import { KeepPlace } from './KeepPlace';
import { Providers } from './Providers';
import './globals.css';

export const metadata: Metadata = {
  title: { default: 'payonce', template: '%s · payonce' },
  description: 'Send money, see your history, and see why nothing is ever paid twice.',
};

export const viewport: Viewport = {
  width: 'device-width',
  initialScale: 1,
  themeColor: [
    { media: '(prefers-color-scheme: light)', color: '#f5f4ef' },
    { media: '(prefers-color-scheme: dark)', color: '#0d1210' },
  ],
};

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body className="min-h-dvh font-sans antialiased">
        <a
          href="#main"
          className="button button-main sr-only focus:not-sr-only focus:absolute focus:top-2 focus:left-2 focus:z-50 focus:px-5 focus:py-2"
        >
          Skip to content
        </a>
        <Providers>
          <KeepPlace />
          <Header />
          <main
            id="main"
            tabIndex={-1}
            className="mx-auto max-w-6xl px-4 pb-16 outline-none sm:px-6"
          >
            <noscript>
              <div className="card mx-auto mt-4 max-w-2xl p-6 sm:mt-10 sm:p-10">
                <h1 className="text-2xl font-bold">This page needs JavaScript</h1>
                <p className="mt-2">
                  It keeps a payment safe in your browser until the service has answered, and asks
                  again where no answer comes. Please allow scripts for this address, and load the
                  page again. The service itself needs none: programs use it as{' '}
                  <a href="/openapi.json" className="text-accent underline">
                    its description
                  </a>{' '}
                  says.
                </p>
              </div>
            </noscript>
            {children}
          </main>
        </Providers>
      </body>
    </html>
  );
}
