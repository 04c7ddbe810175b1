//! The generated traits of the services.

tonic::include_proto!("countersign.v1");
