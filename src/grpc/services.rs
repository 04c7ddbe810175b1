//! The generated traits of the services.

include!(concat!(env!("OUT_DIR"), "/services/countersign.v1.rs"));
