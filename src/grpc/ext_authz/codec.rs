//! The codec of Check: requests are read like all others; answers are encoded before.

use bytes::BufMut as _;
use countersign_proto::codec;
use tonic::{
    Status,
    codec::{EncodeBuf, Encoder},
};

use super::{answer::Answer, messages::CheckRequest};

/// Encodes answers, decodes requests.
#[derive(Debug, Default)]
pub(super) struct Codec(codec::Codec<CheckRequest, CheckRequest>);

impl tonic::codec::Codec for Codec {
    type Encode = Answer;
    type Decode = CheckRequest;
    type Encoder = AnswerEncoder;
    type Decoder = codec::Decoder<CheckRequest>;

    fn encoder(&mut self) -> AnswerEncoder {
        AnswerEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        self.0.decoder()
    }
}

/// The encoder of answers.
#[derive(Debug)]
pub(super) struct AnswerEncoder;

impl Encoder for AnswerEncoder {
    type Item = Answer;
    type Error = Status;

    fn encode(&mut self, answer: Answer, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(answer.into_bytes());
        Ok(())
    }
}
