//! The words the signals know, in one table that is built at compile time.

/// The words of one language.
struct Language {
    /// Function words: they carry the grammar of any running text.
    stop: &'static str,
    /// Words with which a text explains: causes, examples, definitions, conditions, contrast, order.
    explain: &'static str,
}

/// English, German, French, Spanish, Italian, Portuguese, Dutch. An apostrophe divides words (`l'eau` is two).
const LANGUAGES: [Language; 7] = [
    Language {
        stop: "the of and to in a is that it was for on are as with be by at this from or an which have not but we \
               you he they i my your his their its can has had were been will would there these those if when so",
        explain: "because therefore thus hence example instance consider suppose define defined definition called \
                  means since however although whereas while consequently implies explain explains why if when which \
                  follows recall notice theorem theory principle cause causes result results unlike similarly first \
                  second finally between compare compared then instead rather depends",
    },
    Language {
        stop: "der die das und ist in den von zu mit sich des auf für nicht ein eine als auch es an werden aus er hat \
               dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor \
               zur bis mehr durch man dem im ich wir sein wenn kann",
        explain: "weil daher deshalb also somit folglich beispiel beispielsweise denn da wenn dann definition heißt \
                  bedeutet nennt bezeichnet obwohl während jedoch dagegen dadurch ursache folge ergebnis warum erstens \
                  zunächst schließlich zwischen damit wobei indem",
    },
    Language {
        stop: "le la les de des du un une et est en que qui dans à pour par sur pas plus ne se ce il elle au aux avec \
               son sa ses ou mais comme nous vous ils on l d qu n s c cette ces être sont été a",
        explain: "car donc ainsi parce puisque exemple considérons supposons définition appelle appelé signifie alors \
                  cependant tandis lorsque quand si cause conséquence résultat pourquoi abord ensuite enfin entre dont \
                  toutefois",
    },
    Language {
        stop: "el la los las de del un una y es en que a por para con no se su sus al lo como más o pero le ha este \
               esta sin sobre ser son entre cuando muy ya también fue hay nos",
        explain: "porque entonces así pues ejemplo consideremos definición llama llamado significa aunque mientras \
                  cuando si causa consecuencia resultado primero luego finalmente entre debido tanto embargo",
    },
    Language {
        stop: "il lo la i gli le di del della dei delle da dal in nel nella un una e è che a al alla per con non si \
               su come più ma o sono ha anche questo questa cui suo sua l dell d essere ci se",
        explain: "perché quindi dunque poiché così esempio consideriamo definizione chiama chiamato significa allora \
                  tuttavia mentre quando se causa conseguenza risultato prima infine tra fra sebbene infatti cioè",
    },
    Language {
        stop: "o a os as de do da dos das em no na nos nas um uma e é que para por com não se ao à mais como mas foi \
               ele ela seu sua ou ser quando muito já também são está há pelo pela",
        explain: "porque portanto assim pois exemplo considere definição chama chamado significa então embora enquanto \
                  quando se causa consequência resultado primeiro depois finalmente entre contudo porém",
    },
    Language {
        stop: "de het een en van in is dat op te zijn met voor niet aan er om ook als door bij of uit nog naar maar \
               over tot dan deze die dit wordt werd worden kan hun was we ze je",
        explain: "omdat dus daarom want voorbeeld bijvoorbeeld stel definitie heet betekent noemen dan als terwijl \
                  echter hoewel oorzaak gevolg resultaat waarom eerst vervolgens tenslotte tussen waardoor namelijk",
    },
];

/// Words of page furniture, of sales and of chat, none of which teaches.
const WEB: &str = "cookie cookies subscribe unsubscribe newsletter login logout signup copyright homepage sitemap faq \
     faqs cart checkout click rss facebook twitter instagram pinterest whatsapp youtube linkedin tiktok privacy gdpr \
     sponsored advertisement advertisements lorem ipsum wishlist basket bookmark nbsp \
     amazing awesome discount discounts deals guaranteed cheap cheapest sale bestseller coupon promo shipping hurry \
     unlock ultimate exclusive incredible unbelievable refund \
     lol lmao omg wtf thx plz pls idk btw imo imho haha hahaha gonna wanna gotta dunno kinda yeah yep nope dude bro \
     datenschutz impressum warenkorb anmelden panier confidentialité carrito privacidad carrello winkelwagen carrinho";

/// Words of an instruction that name the task or are found in any, and do not say what it is about.
const TASK: &str = "write explain describe create generate list give provide following sentence sentences please \
    identify given make find using used based below tell rewrite summarize translate correct what would could should \
    your about into word words three four five tips ways reasons ideas examples short brief long essay email story poem \
    paragraph paragraphs article function work works working asking staying important difference different good best \
    better need needs help people main many much some most more very";

pub(super) const LANGUAGE_COUNT: usize = LANGUAGES.len();
/// `the` and `an`: no function word follows them in grammatical text. (`a` is a letter and a variable too.)
pub(super) const ARTICLE: u32 = 1 << (2 * LANGUAGE_COUNT);
/// A word of [`WEB`].
pub(super) const WEB_WORD: u32 = ARTICLE << 1;

/// The bit of a stop word of the `language`-th language.
pub(super) const fn stop(language: usize) -> u32 {
    1 << language
}

/// The bit of an explaining word of the `language`-th language.
pub(super) const fn explain(language: usize) -> u32 {
    1 << (LANGUAGE_COUNT + language)
}

/// FNV-1a over the word with ASCII letters in lower case.
pub(super) const fn hash(word: &[u8]) -> u64 {
    let (mut hash, mut at) = (0xCBF2_9CE4_8422_2325_u64, 0);
    while at < word.len() {
        hash = (hash ^ word[at].to_ascii_lowercase() as u64).wrapping_mul(0x0100_0000_01B3);
        at += 1;
    }
    hash
}

/// What is known of the word with this hash: a set of bits, empty for a word that is about something.
pub(super) fn flags(hash: u64) -> u32 {
    TABLE[slot(&TABLE, hash)].1
}

/// Open addressing with linear probing; about half full, so an empty slot always ends a search.
type Table = [(u64, u32); 2048];

static TABLE: Table = {
    let mut table = [(0, 0); 2048];
    let mut at = 0;
    while at < LANGUAGES.len() {
        mark(&mut table, LANGUAGES[at].stop, stop(at));
        mark(&mut table, LANGUAGES[at].explain, explain(at));
        at += 1;
    }
    mark(&mut table, "the an", ARTICLE);
    mark(&mut table, WEB, WEB_WORD);
    mark(&mut table, TASK, WEB_WORD << 1);
    table
};

#[expect(clippy::cast_possible_truncation, reason = "only the low bits choose the slot")]
const fn slot(table: &Table, hash: u64) -> usize {
    let mut at = (hash ^ (hash >> 32)) as usize % table.len();
    while table[at].0 != hash && table[at].0 != 0 {
        at = (at + 1) % table.len();
    }
    at
}

const fn mark(table: &mut Table, words: &str, bit: u32) {
    let mut rest = words.as_bytes();
    while !rest.is_empty() {
        let mut end = 0;
        while end < rest.len() && rest[end] != b' ' {
            end += 1;
        }
        let (word, after) = rest.split_at(end);
        if !word.is_empty() {
            let key = hash(word);
            let at = slot(table, key);
            table[at] = (key, table[at].1 | bit);
        }
        rest = if let [_, tail @ ..] = after { tail } else { after };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_known_in_every_language_that_has_it_and_in_any_case() {
        assert_eq!(flags(hash(b"The")), stop(0) | ARTICLE);
        assert_eq!(flags(hash(b"also")), explain(1));
        assert_eq!(flags(hash("für".as_bytes())), stop(1));
        assert_eq!(flags(hash(b"cookies")), WEB_WORD);
        assert_eq!(flags(hash(b"photosynthesis")), 0);
    }

    #[test]
    fn the_table_stays_half_empty() {
        assert!(TABLE.iter().filter(|slot| slot.0 != 0).count() < TABLE.len() / 2);
    }
}
