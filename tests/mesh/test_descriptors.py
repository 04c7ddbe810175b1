"""`countersign descriptors`: what transcoders of JSON need, which write the details of errors too."""

import subprocess

from google.protobuf import descriptor_pb2, descriptor_pool

CONFIG = """
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: json
          route_config: {{ virtual_hosts: [{{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: / }}, direct_response: {{ status: 200 }} }}] }}] }}
          http_filters:
          - name: envoy.filters.http.grpc_json_transcoder
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder
              proto_descriptor: {file}
              services: [countersign.v1.AuthService, countersign.v1.UserService]
              auto_mapping: true
              convert_grpc_status: true
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
"""


def test_envoy_transcodes_json_by_the_printed_descriptors(job):
    file, config = job.dir / "descriptors.bin", job.dir / "transcoder.yaml"
    assert job.command("descriptors", "--out", str(file)).returncode == 0
    pool = descriptor_pool.DescriptorPool()
    for described in descriptor_pb2.FileDescriptorSet.FromString(file.read_bytes()).file:
        pool.Add(described)
    for name in ("countersign.v1.AuthService", "countersign.v1.UserService"):
        assert pool.FindServiceByName(name).methods
    for name in ("google.rpc.Status", "google.rpc.ErrorInfo", "google.rpc.BadRequest"):
        assert pool.FindMessageTypeByName(name)
    config.write_text(CONFIG.format(file=file))
    checked = subprocess.run(["envoy", "--mode", "validate", "-c", config], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_descriptors_that_cannot_be_written_say_where(job):
    failed = job.command("descriptors", "--out", str(job.dir / "no" / "where"))
    assert failed.returncode == 1 and str(job.dir / "no" / "where") in failed.stderr, failed.stderr
