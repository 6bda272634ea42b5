//! What the events of one stream do to the table. No I/O and no clock.
//!
//! A list is built aside and swapped in whole once it is complete; a change is applied as the unit it is. An error ends
//! the stream; whatever was complete before stays.

use bellhop_api::watch::{Event, Position, Unit, UnitName};
use bellhop_route::TableBuilder;

use super::{House, WatchEnd, WatchState, held::Kept};

/// One stream, from its first line to its end.
pub(super) struct Follower<'a> {
    house: &'a House<'a>,
    listing: Option<Listing>,
}

/// A list that is not complete yet.
struct Listing {
    table: TableBuilder,
    kept: Option<Kept>,
    /// Where the list begins; none where the stream began without a `reset`.
    from: Option<Position>,
}

impl<'a> Follower<'a> {
    /// A stream that was asked for from what is held on, or for a list.
    pub(super) fn new(house: &'a House<'a>, list: bool) -> Self {
        let mut follower = Self { house, listing: None };
        if list {
            follower.begin(None);
        }
        follower
    }

    /// Whether all that was asked for has come, and changes are awaited.
    pub(super) fn is_following(&self) -> bool {
        self.listing.is_none()
    }

    fn begin(&mut self, from: Option<Position>) {
        let kept = self.house.held.kept.borrow().is_some().then(Kept::default);
        let table = TableBuilder::new(self.house.tables.namespace());
        self.listing = Some(Listing { table, kept, from });
        self.house.tables.set_watch_state(WatchState::Listing);
    }

    /// Applies one event.
    ///
    /// # Errors
    /// The stream is not to be believed any further. The table is as it was before the event.
    pub(super) fn apply(&mut self, event: Event) -> Result<(), WatchEnd> {
        match event {
            Event::Reset(position) => {
                let listing = self.listing.as_ref();
                if listing.is_some_and(|listing| listing.from.is_some()) {
                    return Err(WatchEnd::OutOfOrder);
                }
                self.check(&position, true)?;
                self.begin(Some(position));
            }
            Event::Put { unit, position } => self.put(&unit, position)?,
            Event::Delete { unit, position } => self.delete(&unit, position)?,
            Event::Synced(position) => self.synced(position)?,
            Event::Bookmark(position) => {
                if self.is_following() {
                    self.check(&position, false)?;
                    self.house.tables.set_position(position);
                }
            }
            Event::Ask { keys } => self.house.held.asked(keys),
            Event::Unknown => {}
        }
        Ok(())
    }

    fn put(&mut self, unit: &Unit, position: Option<Position>) -> Result<(), WatchEnd> {
        if let Some(listing) = &mut self.listing {
            listing.table.put(unit).map_err(|error| bad_unit(&error))?;
            listing.kept.iter_mut().for_each(|kept| kept.put(unit));
            return Ok(());
        }
        self.check_some(position.as_ref())?;
        self.house.tables.current().put(unit).map_err(|error| bad_unit(&error))?;
        self.house.held.kept.borrow_mut().iter_mut().for_each(|kept| kept.put(unit));
        let key = match unit {
            Unit::Service(_) => None,
            Unit::Key(unit) => Some(&unit.key),
        };
        self.moved(position);
        self.house.held.changed(key);
        Ok(())
    }

    fn delete(&mut self, name: &UnitName, position: Option<Position>) -> Result<(), WatchEnd> {
        if self.listing.is_some() {
            return Err(WatchEnd::OutOfOrder);
        }
        self.check_some(position.as_ref())?;
        self.house.tables.current().delete(name);
        self.house.held.kept.borrow_mut().iter_mut().for_each(|kept| kept.delete(name));
        let key = match name {
            UnitName::Service { .. } => None,
            UnitName::Key(key) => Some(key),
        };
        self.moved(position);
        self.house.held.changed(key);
        Ok(())
    }

    fn synced(&mut self, position: Position) -> Result<(), WatchEnd> {
        let listed = self.listing.is_some();
        self.check(&position, listed)?;
        if let Some(Listing { from: Some(from), .. }) = &self.listing
            && (from.epoch != position.epoch || from.revision > position.revision)
        {
            return Err(WatchEnd::OutOfOrder);
        }
        match self.listing.take() {
            Some(listing) => {
                *self.house.held.kept.borrow_mut() = listing.kept;
                self.house.tables.replace(listing.table.finish(), Some(position));
                self.house.held.replaced();
            }
            None => self.house.tables.set_position(position),
        }
        self.house.tables.set_watch_state(WatchState::Following);
        Ok(())
    }

    fn moved(&self, position: Option<Position>) {
        if let Some(position) = position {
            self.house.tables.set_position(position);
        }
    }

    fn check_some(&self, position: Option<&Position>) -> Result<(), WatchEnd> {
        position.map_or(Ok(()), |position| self.check(position, false))
    }

    /// Within an epoch nothing goes back; from one epoch to another leads only a list.
    fn check(&self, position: &Position, in_a_list: bool) -> Result<(), WatchEnd> {
        match self.house.tables.position() {
            Some(held) if held.epoch == position.epoch => {
                if position.revision < held.revision {
                    Err(WatchEnd::Older)
                } else {
                    Ok(())
                }
            }
            Some(_) if !in_a_list => Err(WatchEnd::OutOfOrder),
            _ => Ok(()),
        }
    }
}

fn bad_unit(error: &bellhop_route::CompileError) -> WatchEnd {
    tracing::warn!(%error, "control sent a unit that cannot be");
    WatchEnd::BadUnit
}
