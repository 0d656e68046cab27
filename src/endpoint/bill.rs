//! What a request can cost at most, and what its reply cost.

use super::batches::Billing;
use super::reply::Completion;
use super::{Endpoint, Request};
use crate::model::{Money, ServiceTier, Tier, Tokens, prompt_at_most};
use crate::rating::answer::Usage;

impl Endpoint {
    /// The most that a request can cost; `None` where the price is unknown, or nothing bounds the answer.
    pub fn bound(&self, request: &Request) -> Option<Money> {
        let prompt = prompt_at_most(request.body.len());
        Some(self.options.price?.bound(prompt, request.answer_at_most?, self.tier().dearest()))
    }

    /// The service tier that a request asks for. OpenAI takes that of the project where none is named; elsewhere the
    /// stated price is the price.
    pub fn tier(&self) -> ServiceTier {
        match self.options.tier {
            Some(tier) => tier,
            None if self.options.hosted => ServiceTier::Auto,
            None => ServiceTier::Default,
        }
    }

    /// The most that a request can cost as a line of a batch; `None` as in [`Endpoint::bound`].
    pub fn batch_bound(&self, request: &Request) -> Option<Money> {
        let prompt = prompt_at_most(request.body.len());
        Some(self.options.price?.bound(prompt, request.answer_at_most?, Tier::Batch))
    }

    /// How a completion is billed that was asked for by itself.
    pub(super) fn billing(&self, completion: &Completion) -> Billing {
        // Where no tier was asked for, another server's word for its own way of serving is no factor.
        let tier = if self.options.hosted || self.options.tier.is_some() {
            self.tier().billed(completion.service_tier.as_deref())
        } else {
            Tier::Standard
        };
        Billing { price: self.options.price, tier }
    }
}

impl Billing {
    /// What a completion used and cost; `None` where the server does not say.
    pub(super) fn usage(&self, completion: &Completion) -> Option<Usage> {
        let usage = completion.usage.as_ref()?;
        let input = usage.prompt_tokens?;
        // Some servers count thoughts in the total alone.
        let rest = usage.total_tokens.map(|total| total.saturating_sub(input));
        let output = usage.completion_tokens.max(rest);
        let tokens =
            Tokens { input, cached: usage.cached(), written: usage.written(), output: output.unwrap_or(0) };
        Some(Usage {
            input: tokens.input,
            cached_input: tokens.cached,
            cache_write: tokens.written,
            output: tokens.output,
            // Half of a bill is none.
            cost: self
                .price
                .filter(|_| input > 0 && output.is_some())
                .map(|price| price.cost(tokens, self.tier)),
        })
    }
}
