//! The codec of Check: requests are read where they lie; answers are encoded before.

use bytes::{Buf as _, BufMut as _};
use countersign_proto::codec::small_buffers;
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::{answer::Answer, question::CheckRequest};

/// Encodes answers, decodes requests.
#[derive(Debug, Default)]
pub(super) struct Codec;

impl tonic::codec::Codec for Codec {
    type Encode = Answer;
    type Decode = CheckRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Codec {
    type Item = Answer;
    type Error = Status;

    fn encode(&mut self, answer: Answer, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(answer.into_bytes());
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        small_buffers()
    }
}

impl Decoder for Codec {
    type Item = CheckRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<CheckRequest>, Status> {
        Ok(Some(CheckRequest::new(buffer.copy_to_bytes(buffer.remaining()))))
    }

    fn buffer_settings(&self) -> BufferSettings {
        small_buffers()
    }
}
