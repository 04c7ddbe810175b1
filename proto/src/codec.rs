//! The codec of the services: prost with small buffers, whose errors quote nothing. Tonic's buffers of 8 KiB twice a
//! call are most of an empty call's memory.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf},
};
use tonic_prost::ProstEncoder;

const BUFFER: usize = 1024;
const YIELD_AT: usize = 32 * 1024;

/// The settings of the buffers of each call.
pub fn small_buffers() -> BufferSettings {
    BufferSettings::new(BUFFER, YIELD_AT)
}

/// Encodes `T`, decodes `U`.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Decoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(small_buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        Decoder(PhantomData)
    }
}

/// The decoder of messages `U`.
#[derive(Debug)]
pub struct Decoder<U>(PhantomData<U>);

impl<U: Message + Default> tonic::codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // prost's error may quote the message, which may hold a secret: it is dropped.
        U::decode(buf).map(Some).map_err(|_| Status::internal("the bytes are no message of this method"))
    }

    fn buffer_settings(&self) -> BufferSettings {
        small_buffers()
    }
}
