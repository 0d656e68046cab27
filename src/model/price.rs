//! What tokens cost: by kind, by service tier, by the length of the prompt; and the most that one request can cost.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Money;

/// Tokens of a prompt that its request's body does not show, at most: what a server writes around messages and functions.
const UNSEEN: u64 = 1024;

/// US dollars per million tokens, at the standard tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Prompt tokens.
    pub input: Money,
    /// Prompt tokens that the server had cached.
    pub cached_input: Money,
    /// Prompt tokens that the server wrote into its cache.
    pub cache_write: Money,
    /// Generated tokens, reasoning included.
    pub output: Money,
    /// Prompt tokens above which the whole request costs twice as much for the prompt, and half as much again for the
    /// answer.
    pub long_prompt: Option<u64>,
}

/// Tokens of one request, as its bill counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt, cached and written ones included.
    pub input: u64,
    /// Those of `input` that the server had cached.
    pub cached: u64,
    /// Those of `input` that the server wrote into its cache.
    pub written: u64,
    /// Generated, reasoning included.
    pub output: u64,
}

/// The service tier that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceTier {
    /// What the account's project is set to.
    Auto,
    /// The standard one.
    Default,
    /// Slower, at half the price; may have no room.
    Flex,
    /// Faster, at twice the price.
    Priority,
}

/// The tier that a request was billed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// At the table's price.
    Standard,
    /// At half of it.
    Flex,
    /// At half of it: asked for by the file, not by the request.
    Batch,
    /// At twice the price; also called fast.
    Priority,
}

impl ServiceTier {
    /// The word of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Default => "default",
            Self::Flex => "flex",
            Self::Priority => "priority",
        }
    }

    /// The tier of this word of the wire.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Auto, Self::Default, Self::Flex, Self::Priority].into_iter().find(|tier| tier.as_str() == word)
    }

    /// The tier of the bill: the one that the reply names. A reply that names none, or one that nobody knows, is billed at
    /// the standard price, or at that of the priority that was asked for.
    pub fn billed(self, replied: Option<&str>) -> Tier {
        match (replied, self) {
            (Some("default" | "standard"), _) => Tier::Standard,
            (Some("flex"), _) => Tier::Flex,
            (Some("batch"), _) => Tier::Batch,
            (Some("priority" | "fast"), _) | (_, Self::Priority) => Tier::Priority,
            _ => Tier::Standard,
        }
    }

    /// The dearest tier that a request may be billed by. A flex request may be served as a standard one, and a project may
    /// be set to any tier.
    pub fn dearest(self) -> Tier {
        match self {
            Self::Default | Self::Flex => Tier::Standard,
            Self::Auto | Self::Priority => Tier::Priority,
        }
    }
}

impl Tier {
    /// The price's factor, in halves.
    fn halves(self) -> u128 {
        match self {
            Self::Standard => 2,
            Self::Flex | Self::Batch => 1,
            Self::Priority => 4,
        }
    }
}

impl Price {
    /// Tokens that cost nothing.
    pub const FREE: Self = Self {
        input: Money::ZERO,
        cached_input: Money::ZERO,
        cache_write: Money::ZERO,
        output: Money::ZERO,
        long_prompt: None,
    };

    /// What a request cost, rounded up to a whole pico-dollar.
    pub fn cost(&self, tokens: Tokens, tier: Tier) -> Money {
        let Tokens { input, cached, written, output } = tokens;
        // Some servers leave cached and written tokens out of the prompt's.
        let apart = cached.saturating_add(written);
        let (prompt, plain) =
            if apart > input { (input.saturating_add(apart), input) } else { (input, input - apart) };
        let of = |tokens: u64, price: Money| u128::from(tokens).saturating_mul(u128::from(price.pico()));
        let inputs = of(plain, self.input)
            .saturating_add(of(cached, self.cached_input))
            .saturating_add(of(written, self.cache_write));
        let (twice, thrice) =
            if self.long_prompt.is_some_and(|long| prompt > long) { (4, 3) } else { (2, 2) };
        let halves =
            inputs.saturating_mul(twice).saturating_add(of(output, self.output).saturating_mul(thrice));
        let pico = halves.saturating_mul(tier.halves()).div_ceil(4 * 1_000_000);
        Money::from_pico(u64::try_from(pico).unwrap_or(u64::MAX))
    }

    /// The most that a request can cost at this tier whose prompt and answer have at most so many tokens: every prompt
    /// token at the dearest of the prompt's prices.
    pub fn bound(&self, prompt: u64, answer: u64, tier: Tier) -> Money {
        let dearest = self.input.max(self.cached_input).max(self.cache_write);
        let price = Self { input: dearest, ..*self };
        price.cost(Tokens { input: prompt, output: answer, ..Tokens::default() }, tier)
    }
}

/// The most tokens that a prompt can have, given the bytes of its request's body: a tokenizer of bytes makes at most one
/// token of each, and what the server adds is little.
pub fn prompt_at_most(body: usize) -> u64 {
    (body as u64).saturating_add(UNSEEN)
}

/// Text that is no price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected IN,OUT or IN,CACHED,WRITE,OUT in US dollars per million tokens, such as 0.10,0.50")]
pub struct NoPrice;

/// `IN,OUT`, or `IN,CACHED,WRITE,OUT`. Without their own prices, cached and written tokens cost what others cost.
impl FromStr for Price {
    type Err = NoPrice;

    fn from_str(text: &str) -> Result<Self, NoPrice> {
        let prices: Result<Vec<Money>, _> = text.split(',').map(str::parse).collect();
        match prices.map_err(|_| NoPrice)?[..] {
            [input, output] => {
                Ok(Self { input, cached_input: input, cache_write: input, output, long_prompt: None })
            }
            [input, cached_input, cache_write, output] => {
                Ok(Self { input, cached_input, cache_write, output, long_prompt: None })
            }
            _ => Err(NoPrice),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{self, CacheKept};

    fn of(name: &str) -> Price {
        model::find(name).unwrap().price(CacheKept::Usual).unwrap()
    }

    fn tokens(input: u64, cached: u64, written: u64, output: u64) -> Tokens {
        Tokens { input, cached, written, output }
    }

    fn dollars(price: Price, tokens: Tokens, tier: Tier) -> String {
        price.cost(tokens, tier).dollars().to_string()
    }

    #[test]
    fn costs_are_those_worked_out_by_hand() {
        let luna = of("gpt-6-luna");
        // 2,000 × $0.10 + 100 × $0.50, per million.
        assert_eq!(dollars(luna, tokens(2000, 0, 0, 100), Tier::Standard), "0.00025");
        // 500 × 0.10 + 1,200 × 0.01 + 300 × 0.125 + 100 × 0.50 = 50 + 12 + 37.5 + 50 = 149.5 millionths.
        assert_eq!(dollars(luna, tokens(2000, 1200, 300, 100), Tier::Standard), "0.0001495");
        // Half and twice of that.
        assert_eq!(dollars(luna, tokens(2000, 1200, 300, 100), Tier::Flex), "0.00007475");
        assert_eq!(dollars(luna, tokens(2000, 1200, 300, 100), Tier::Batch), "0.00007475");
        assert_eq!(dollars(luna, tokens(2000, 1200, 300, 100), Tier::Priority), "0.000299");
        // The longest prompt at the usual price, and one token more: 272,000 × 2 = $0.544 and 1,000 × 10 = $0.01;
        // 272,001 × 4 = $1.088004 and 1,000 × 15 = $0.015.
        let sol = of("gpt-6-sol");
        assert_eq!(dollars(sol, tokens(272_000, 0, 0, 1000), Tier::Standard), "0.554");
        assert_eq!(dollars(sol, tokens(272_001, 0, 0, 1000), Tier::Standard), "1.103004");
        // 12-hour cache writes of terra: 1,000 × $2.50 instead of 1,000 × $1.25.
        let long = model::find("gpt-6.1-terra").unwrap().price(CacheKept::Long).unwrap();
        assert_eq!(dollars(long, tokens(1000, 0, 1000, 0), Tier::Standard), "0.0025");
        assert_eq!(dollars(of("gpt-6.1-terra"), tokens(1000, 0, 1000, 0), Tier::Standard), "0.00125");
    }

    #[test]
    fn cached_tokens_that_the_prompt_does_not_count_are_counted() {
        // 10 × 0.10 + 1,000 × 0.01 = 11 millionths.
        assert_eq!(dollars(of("gpt-6-luna"), tokens(10, 1000, 0, 0), Tier::Standard), "0.000011");
    }

    #[test]
    fn the_reply_says_by_which_tier_it_is_billed() {
        assert_eq!(ServiceTier::Flex.billed(Some("flex")), Tier::Flex);
        assert_eq!(ServiceTier::Flex.billed(Some("default")), Tier::Standard);
        assert_eq!(ServiceTier::Flex.billed(None), Tier::Standard);
        assert_eq!(ServiceTier::Priority.billed(None), Tier::Priority);
        assert_eq!(ServiceTier::Priority.billed(Some("default")), Tier::Standard);
        assert_eq!(ServiceTier::Auto.billed(Some("fast")), Tier::Priority);
        assert_eq!(ServiceTier::Auto.billed(Some("on_demand")), Tier::Standard);
    }

    #[test]
    fn a_price_has_two_or_four_parts() {
        let price: Price = "0.10, 0.50".parse().unwrap();
        assert_eq!((price.cached_input, price.cache_write), (price.input, price.input));
        assert_eq!(
            "0.10,0.01,0.125,0.50".parse::<Price>().unwrap(),
            Price { long_prompt: None, ..of("gpt-6-luna") }
        );
        for wrong in ["", "1", "1,2,3", "1,2,3,4,5", "1,-2", "a,b"] {
            assert_eq!(wrong.parse::<Price>(), Err(NoPrice), "{wrong}");
        }
    }

    fn any_price() -> impl Strategy<Value = Price> {
        let price = || (0_u64..1 << 50).prop_map(Money::from_pico);
        (price(), price(), price(), price(), prop::option::of(0_u64..5000)).prop_map(
            |(input, cached_input, cache_write, output, long_prompt)| Price {
                input,
                cached_input,
                cache_write,
                output,
                long_prompt,
            },
        )
    }

    proptest! {
        #[test]
        fn no_usage_within_the_bound_costs_more(
            price in any_price(),
            (body, room) in (0_usize..10_000, 0_u64..10_000),
            parts in prop::array::uniform4(0.0..=1.0_f64),
            asked in prop::sample::select(vec![ServiceTier::Auto, ServiceTier::Default, ServiceTier::Flex, ServiceTier::Priority]),
            replied in prop::sample::select(vec![None, Some("default"), Some("flex"), Some("priority"), Some("batch"), Some("x")]),
        ) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shares of small counts")]
            let share = |part: f64, of: u64| (part * of as f64) as u64;
            let prompt = prompt_at_most(body);
            let input = share(parts[0], prompt);
            let cached = share(parts[1], input);
            let used = tokens(input, cached, share(parts[2], input - cached), share(parts[3], room));
            // Who asks for a tier that is not dearer is not served by one that is.
            prop_assume!(!(matches!(asked, ServiceTier::Default | ServiceTier::Flex) && replied == Some("priority")));
            let cost = price.cost(used, asked.billed(replied));
            prop_assert!(cost <= price.bound(prompt, room, asked.dearest()));
            // A line of a batch is billed by the file that it came in.
            prop_assert!(price.cost(used, Tier::Batch) <= price.bound(prompt, room, Tier::Batch));
        }

        #[test]
        fn no_count_of_tokens_overflows(price in any_price(), input: u64, cached: u64, written: u64, output: u64) {
            let used = tokens(input, cached, written, output);
            prop_assert!(price.cost(used, Tier::Priority) >= price.cost(used, Tier::Flex));
        }
    }
}
