//! The generated traits of the services.
#![expect(unreachable_pub, reason = "generated code")]

tonic::include_proto!("countersign.v1");
