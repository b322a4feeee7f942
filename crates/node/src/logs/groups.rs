//! Log groups as CloudWatch Logs has them. What the store remembers is passed through; what is added is that readers
//! see all that was written before they asked, that followers hear of lines put by hand, and filter patterns.

use std::{collections::BTreeMap, sync::Arc};

pub use updraft_engine::filter_pattern::FilterPattern;
use updraft_store::Logs;
use updraft_types::LogGroupId;

use super::Handle;

/// What is said about groups, streams and pages.
pub mod stored {
    pub use updraft_store::logs::{
        Change, Direction, Entry, Error, Event, Group, Lines, Order, Page, Pattern, Place, Query, Stream, StreamCursor,
        Streams,
    };
}

impl Handle {
    /// Groups and streams, with everything that has been written so far.
    pub async fn groups(&self) -> &Logs {
        self.flush().await;
        self.hub.store.logs()
    }

    /// A group's tags; `None` if there is no such group. What is still to be written has no part in them.
    pub async fn tags(&self, group: LogGroupId) -> Result<Option<BTreeMap<String, String>>, stored::Error> {
        Ok(self.hub.store.logs().group(group).await?.map(|group| group.tags))
    }

    /// A page of a group's lines, of those that `pattern` selects; `None` if there is no such group.
    pub async fn page(
        &self,
        query: stored::Query,
        pattern: FilterPattern,
    ) -> Result<Option<stored::Page>, stored::Error> {
        let filter = (!pattern.is_empty()).then(|| -> updraft_store::logs::Filter {
            Arc::new(move |text| pattern.matches(&String::from_utf8_lossy(text)))
        });
        self.groups().await.page(stored::Query { filter, ..query }).await
    }

    /// Stores lines of a stream that is there, and tells followers.
    pub async fn put(&self, entry: stored::Entry) -> Result<stored::Change, stored::Error> {
        let change = self.groups().await.put(entry.clone()).await?;
        if change == stored::Change::Done {
            self.tell_followers(&[entry]);
        }
        Ok(change)
    }
}
