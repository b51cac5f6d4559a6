// A debugging session by VS Code's own client (@vscode/debugadapter-testsupport): `node session.cjs SETTINGS` goes
// through `settings.actions` and prints what it saw as JSON.
const fs = require('node:fs');
const { DebugClient } = require('@vscode/debugadapter-testsupport');

const settings = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const MOVES = ['continue', 'next', 'stepIn', 'stepOut', 'stepBack', 'reverseContinue'];

async function main() {
  const client = new DebugClient('sh', settings.script, 'dockerfile', { cwd: settings.folder }, true);
  client.defaultTimeout = 90000;
  const seen = [];
  let output = '';
  let terminal = null;
  client.on('output', (event) => { output += event.body.output; });
  const dispatch = client.dispatch.bind(client);
  client.dispatch = (body) => {  // which leaves out what the adapter asks for
    const message = JSON.parse(body);
    if (message.type === 'request') terminal = message.arguments.args;
    dispatch(body);
  };
  await client.start();
  const first = await client.initializeRequest({ adapterID: 'dockerfile', supportsRunInTerminalRequest: true });
  const launched = client.launchRequest(settings.launch);
  await client.waitForEvent('initialized');
  const source = { path: settings.file };
  const set = await client.setBreakpointsRequest({ source, breakpoints: settings.breakpoints.map((line) => ({ line })) });
  const stopped = () => client.waitForEvent('stopped').then((event) => event.body);
  const frames = async () => (await client.stackTraceRequest({ threadId: 1 })).body.stackFrames;

  async function look(stop) {
    const found = await frames();
    const asked = { expression: settings.asked, frameId: found[0].id, context: 'repl' };
    const said = (await client.evaluateRequest(asked)).body.result;
    seen.push({ reason: stop.reason, text: stop.text, line: found[0].line, name: found[0].name, depth: found.length, said });
  }

  async function open(path) {
    const scopes = (await client.scopesRequest({ frameId: (await frames())[0].id })).body.scopes;
    let rows = scopes.map((scope) => ({ ...scope, value: '' }));
    for (const name of path) {
      const row = rows.find((other) => other.name === name);
      if (!row) return `no ${name} in ${rows.map((other) => other.name)}`;
      rows = (await client.variablesRequest({ variablesReference: row.variablesReference })).body.variables;
    }
    return Object.fromEntries(rows.map((row) => [row.name, row.value]));
  }

  const [stop] = await Promise.all([stopped(), client.configurationDoneRequest(), launched]);
  await look(stop);
  for (const [action, value] of settings.actions) {
    if (MOVES.includes(action)) {
      const [next] = await Promise.all([stopped(), client.send(action, { threadId: 1 })]);
      await look(next);
    } else if (action === 'open') {
      seen.push(await open(value));
    } else if (action === 'pause') {
      const waiting = stopped();
      await client.continueRequest({ threadId: 1 });
      await new Promise((done) => setTimeout(done, value));
      await client.pauseRequest({ threadId: 1 });
      await look(await waiting);
    } else {
      const asked = { frameId: (await frames())[0].id, threadId: 1, ...value };
      const answer = await client.send(action, asked).catch((error) => ({ body: { refused: error.message } }));
      seen.push(answer.body);
    }
  }
  const exited = client.waitForEvent('exited');
  await client.continueRequest({ threadId: 1 });
  const code = (await exited).body.exitCode;
  await client.disconnectRequest({});
  const capabilities = Object.keys(first.body).sort();
  console.log(JSON.stringify({ capabilities, breakpoints: set.body.breakpoints, seen, output, terminal, code }));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
