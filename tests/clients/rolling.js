// Calls GetJwks and Verify over round_robin until standard input ends; then says how many calls there were, and which failed.
// rolling.js PROTO_DIRECTORY TARGET
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [directory, target] = process.argv.slice(2);
const definition = loader.loadSync('countersign/v1/auth.proto', { includeDirs: [directory] });
const { AuthService } = grpc.loadPackageDefinition(definition).countersign.v1;
const client = new AuthService(target, grpc.credentials.createInsecure(), {
  'grpc.default_authority': 'countersign',
  'grpc.enable_retries': 0,
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
});

let calls = 0;
let under_way = 0;
let ended = false;
const failed = [];

const report = () => {
  if (ended && under_way === 0) {
    console.log(JSON.stringify({ calls, failed }));
    process.exit(0);
  }
};

const call = () => {
  if (ended) return;
  calls += 1;
  under_way += 1;
  client.getJwks({}, { deadline: Date.now() + 10000 }, (error) => {
    under_way -= 1;
    if (error) failed.push(error.message);
    report();
  });
};

client.waitForReady(Date.now() + 30000, (error) => {
  if (error) throw error;
  console.log('ready');
  setInterval(call, 10);
});
process.stdin.resume();
process.stdin.on('end', () => {
  ended = true;
  report();
});
