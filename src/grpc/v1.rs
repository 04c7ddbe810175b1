//! The generated messages and services.

tonic::include_proto!("countersign.v1");
