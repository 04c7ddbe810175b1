//! Places of which there are so many, in all and for each holder.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// A bounded number of places.
#[derive(Debug)]
pub struct Places<H> {
    all: usize,
    of_each: usize,
    taken: Mutex<Taken<H>>,
}

#[derive(Debug)]
struct Taken<H> {
    all: usize,
    by: HashMap<H, usize>,
}

/// The reason why a place cannot be had: so many are taken, in all and by the holder itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The places that are taken.
    pub all: usize,
    /// The holder's share of them.
    pub own: usize,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Place<H: Eq + Hash> {
    places: Arc<Places<H>>,
    holder: Option<H>,
}

impl<H: Eq + Hash + Clone> Places<H> {
    /// Makes places: so many in all, and so many for each holder.
    pub fn new(all: usize, of_each: usize) -> Arc<Self> {
        Arc::new(Self { all, of_each, taken: Mutex::new(Taken { all: 0, by: HashMap::new() }) })
    }

    /// Takes a place. Without a holder it counts among all alone.
    ///
    /// # Errors
    /// [`Full`].
    pub fn take(self: &Arc<Self>, holder: Option<H>) -> Result<Place<H>, Full> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = holder.as_ref().and_then(|holder| taken.by.get(holder).copied()).unwrap_or_default();
        if taken.all >= self.all || own >= self.of_each {
            return Err(Full { all: taken.all, own });
        }
        taken.all += 1;
        if let Some(holder) = &holder {
            taken.by.insert(holder.clone(), own + 1);
        }
        Ok(Place { places: Arc::clone(self), holder })
    }

    /// The number of places that are taken.
    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl<H: Eq + Hash> Drop for Place<H> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(holder) = self.holder.take()
            && let Some(own) = taken.by.get_mut(&holder)
        {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(&holder);
            }
        }
    }
}

/// The network that counts as one address: of IPv6 the first 64 bits, which one host may have whole.
pub fn network(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(_) => addr,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_by_holder_and_count_until_they_are_dropped() {
        let places = Places::new(4, 2);
        let take = |holder| places.take(holder);
        let own = [take(Some("ann")), take(Some("ann"))];
        assert!(own.iter().all(Result::is_ok));
        assert_eq!(take(Some("ann")).expect_err("two"), Full { all: 2, own: 2 });
        let others = [take(Some("bob")), take(None)];
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(take(None).expect_err("four in all"), Full { all: 4, own: 0 });
        drop(own);
        assert!(take(Some("ann")).is_ok());
        drop(others);
        assert_eq!((places.taken(), places.taken.lock().expect("not poisoned").by.len()), (0, 0));
    }
}
