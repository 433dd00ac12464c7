// The certified `oidc-provider` as a child process of a test: `node server.mjs FOLDER`, where FOLDER
// holds node_modules. The first line of standard input is the configuration, as JSON:
//   issuer, port, tls {cert, key} or null, clients [{client_id, client_secret}], methods, scopes,
//   audiences (resource -> "jwt" or "opaque"), fallback (the resource of who names none), life (seconds).
// The first line of standard output is {"port"}, then one line for each answered request. The process
// ends with its standard input.
import { createRequire } from 'node:module';
import { createServer as plain } from 'node:http';
import { createServer as secure } from 'node:https';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const tell = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

const start = async (options) => {
  const require = createRequire(`${process.argv[2]}/package.json`);
  const library = await import(pathToFileURL(require.resolve('oidc-provider')));
  const provider = new library.default(options.issuer, {
    clients: options.clients.map((client) => ({
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
      token_endpoint_auth_method: options.methods[0],
      ...client,
    })),
    clientAuthMethods: options.methods,
    scopes: options.scopes,
    ttl: { ClientCredentials: options.life },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => options.fallback,
        getResourceServerInfo: (_context, resource) => {
          const format = options.audiences[resource];
          if (!format) throw new library.errors.InvalidTarget();
          return {
            scope: options.scopes.join(' '),
            audience: resource,
            accessTokenFormat: format,
            ...(format === 'jwt' && { jwt: { sign: { alg: 'RS256' } } }),
          };
        },
      },
    },
  });
  provider.on('server_error', (_context, error) => tell({ fault: String(error.stack) }));
  provider.use(async (context, next) => {
    await next();
    const { method, path, status, headers } = context;
    const { body: form = {}, client } = context.oidc ?? {};
    const names = Object.keys(headers);
    const basic = /^Basic /.test(headers.authorization ?? '');
    const type = headers['content-type'];
    const error = status < 400 ? null : (context.body?.error ?? null);
    tell({ method, path, status, error, names, type, basic, form, client: client?.clientId ?? null });
  });
  const { tls } = options;
  const server = tls ? secure(tls, provider.callback()) : plain(provider.callback());
  server.listen(options.port, '127.0.0.1', () => tell({ port: server.address().port }));
};

const input = createInterface({ input: process.stdin });
input.once('line', (line) => start(JSON.parse(line)));
input.on('close', () => process.exit(0));
