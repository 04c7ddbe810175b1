//! The question of Envoy: a CheckRequest, read where it lies. Of the dozens of headers that come along, nothing is copied. The numbers
//! of fields are those of package `envoy.service.auth.v3`.

use std::fmt;

use bytes::Bytes;

use crate::{authz::AskedRequest, error::Error};

/// A CheckRequest as it came.
pub(in crate::grpc) struct CheckRequest(Bytes);

/// The request that Envoy asks about, and what its route demands.
#[derive(Debug, Default)]
pub(super) struct Question<'q> {
    pub asked: AskedRequest<'q>,
    /// The context extensions: names and values.
    pub extensions: Vec<(&'q str, &'q str)>,
    has_request: bool,
}

impl CheckRequest {
    pub(super) fn new(message: Bytes) -> Self {
        Self(message)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what is no CheckRequest, or asks about no request of HTTP.
    pub(super) fn read(&self) -> Result<Question<'_>, Error> {
        let mut question = Question::default();
        let read = each(&self.0, &mut |number, attributes| match number {
            1 => each(attributes, &mut |number, field| question.attribute(number, field)),
            _ => Ok(()),
        });
        if read.is_err() || !question.has_request {
            return Err(Error::invalid("attributes.request.http", "a request of HTTP in a CheckRequest"));
        }
        Ok(question)
    }
}

/// Prints nothing of it: headers hold tokens and cookies.
impl fmt::Debug for CheckRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckRequest(..)")
    }
}

impl<'q> Question<'q> {
    /// A field of `AttributeContext`.
    fn attribute(&mut self, number: u32, field: &'q [u8]) -> Result<(), Malformed> {
        match number {
            4 => each(field, &mut |number, http| match number {
                2 => {
                    self.has_request = true;
                    each(http, &mut |number, field| self.http(number, field))
                }
                _ => Ok(()),
            }),
            10 => {
                let [name, value, _] = entry(field)?;
                self.extensions.push((text(name), text(value)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A field of `HttpRequest`.
    fn http(&mut self, number: u32, field: &'q [u8]) -> Result<(), Malformed> {
        match number {
            2 => self.asked.method = text(field),
            3 => {
                let [name, value, _] = entry(field)?;
                self.asked.note(name, value);
            }
            4 => self.asked.target = text(field),
            5 => self.asked.host = text(field),
            // The headers of an Envoy that encodes them raw.
            13 => each(field, &mut |number, header| {
                if number == 1 {
                    let [name, value, raw] = entry(header)?;
                    self.asked.note(name, if raw.is_empty() { value } else { raw });
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    }
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// The first three fields of an entry of a map, or of a `HeaderValue`.
fn entry(message: &[u8]) -> Result<[&[u8]; 3], Malformed> {
    let mut found = [&[][..]; 3];
    each(message, &mut |number, field| {
        let place = usize::try_from(number).ok().and_then(|number| found.get_mut(number.checked_sub(1)?));
        if let Some(place) = place {
            *place = field;
        }
        Ok(())
    })?;
    Ok(found)
}

/// Gives each field of a message that is bytes or a message, by its number (Protocol Buffers, Encoding). Others are passed over.
/// prost copies each field into a message of its own, which costs more than all of the decision.
fn each<'m>(
    mut message: &'m [u8],
    take: &mut dyn FnMut(u32, &'m [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let length = match key & 7 {
            0 => {
                varint(&mut message)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).map_err(|_| Malformed)?,
            5 => 4,
            // Groups, which no message of Envoy has.
            _ => return Err(Malformed),
        };
        let (field, rest) = message.split_at_checked(length).ok_or(Malformed)?;
        message = rest;
        if key & 7 == 2 {
            take(u32::try_from(key >> 3).map_err(|_| Malformed)?, field)?;
        }
    }
    Ok(())
}

/// Takes a number off the front: seven bits in each byte, the lowest first.
fn varint(message: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first().ok_or(Malformed)?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

/// A text; what is none is as if it were empty, which means nothing anywhere.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let question = CheckRequest::new(bytes.into());
            drop(question.read());
        }
    }

    #[test]
    fn what_is_cut_short_is_no_question() {
        // attributes { request { http { method: "GET" } } }, and a field that nobody knows.
        let whole: &[u8] = &[0x0a, 0x09, 0x22, 0x07, 0x12, 0x05, 0x12, 0x03, b'G', b'E', b'T', 0x98, 0x06, 0x01];
        let read = |bytes: &[u8]| {
            let question = CheckRequest::new(Bytes::copy_from_slice(bytes));
            question.read().map(|question| question.asked.method.to_owned()).ok()
        };
        assert_eq!(read(whole).as_deref(), Some("GET"));
        for length in (0..whole.len()).filter(|length| *length != 11) {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
        assert_eq!(read(&[0x0a, 0x00]), None, "no request");
    }
}
