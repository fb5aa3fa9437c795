#include "text/split/pre_split.h"

#include "text/split/cuts.h"

namespace vivace {
namespace split {
namespace {

// `None`: classes that may not lead a word.
template <uint16_t None = line_break_class | letter_class | number_class>
using Word = Led<Not<None>, Letter>;
using Numbers3 = UpTo<Number, 3>;
template <uint16_t More = 0>
using Other = Led<Blank, Not<space_class | letter_class | number_class | More>>;
using OtherLines = Tailed<Other<>, LineBreak>;
using Lead = Not<line_break_class | letter_class | number_class>;

template <class Digits>
using Llama3 = Cut<Contraction<true>, Word<>, Digits, OtherLines, Spaces<true>>;
using Gpt2 = Cut<Contraction<false>, Led<Blank, Letter>, Led<Blank, Number>, Other<>, Spaces<false>>;

constexpr uint16_t uppers = upper_class | uncased_class | mark_class, lowers = lower_class | uncased_class | mark_class;
using SlashOrLine = Union<LineBreak, OneOf<'/'>>;
template <bool Contracted, class Digits, class Tail = SlashOrLine>
using CasedWords =
    Cut<CasedWord<Lead, Class<uppers>, Class<lowers>, Contracted>, Digits, Tailed<Other<>, Tail>, Spaces<true>>;
using Gpt4o = CasedWords<true, Numbers3>;

using Bloom = Cut<Led<Blank, Except<Not<space_class>, OneOf<'(', ')', '|', '.', ',', '!', '?', 0x2026, 0x3002, 0xFF0C,
                                                            0x3001, 0x964, 0x6D4, 0x60C>>>>;

using CjkKana = Run<Union<Between<0x4E00, 0x9FA5>, Between<0x3040, 0x30FF>>>;
using AsciiWord = LedAlways<AsciiPunctuation, AsciiLetter>;
using MarkedWord =
    Led<Not<line_break_class | letter_class | punctuation_class | symbol_class>, Class<letter_class | mark_class>>;
using Signs = Led<Blank, Class<punctuation_class | symbol_class>>;
using Deepseek3 = Cut<AsciiWord, MarkedWord, Tailed<Signs, LineBreak>, Spaces<true>>;

using Digit3 = Exactly<Digit, 3>;
using PunctuationAnd = Union<Class<punctuation_class>, OneOf<'$', '+', '<', '=', '>', '^', '~', '|'>>;
using DeepseekCjk = Union<Between<0x4E00, 0x9FA5>, Between<0x800, 0x4E00>, Between<0xAC00, 0xD7FF>>;

using Sentinel = Chain<Literal<'<', 's', 'e', 'n', 't', 'i', 'n', 'e', 'l', ':'>, Run<Digit>, Literal<'>'>>;
using ImageToken = Chain<Literal<'I', 'M', 'G', 'I', 'M', 'G'>, UpTo<Between<'A', 'I'>, 4>, Literal<'Z'>>;
using ChameleonSpace = Cut<One<OneOf<'\t', '\n'>>, Literal<' ', ' ', ' ', ' '>, Literal<' ', ' '>>;

using YoutuScripts =
    Cut<Run<Union<Between<0xAC00, 0xD7A3>, Between<0x3131, 0x318E>>>,
        Run<Union<OneOf<0xFF01, 0x2026, 0x201C, 0x201D, 0x2018, 0x2019, 0x2014, 0xFF1A, 0xFF1B, 0xFF0C>,
                  Between<0x3001, 0x303F>, Between<0xFE30, 0xFE4F>>>,
        Run<Between<0x3105, 0x312F>>, CjkKana>;
using AfmoeScripts =
    Cut<Run<Union<Between<0x4E00, 0x9FFF>, Between<0x3400, 0x4DBF>, Between<0xF900, 0xFAFF>, Between<0x3040, 0x30FF>,
                  Between<0xFF65, 0xFF9F>, Between<0x2F00, 0x2FDF>, Between<0xE40, 0xEFF>, Between<0x1780, 0x17FF>,
                  Between<0x1000, 0x109F>, Between<0xAA60, 0xAA7F>, Between<0xA9E0, 0xA9FF>, Between<0xAC00, 0xD7AF>,
                  Between<0x1100, 0x11FF>>>>;
using DeepseekSigns = Union<Between<'!', '/'>, Between<':', '~'>, Between<0xFF01, 0xFF0F>, Between<0xFF1A, 0xFF5E>,
                            Between<0x2018, 0x201F>, Between<0x3000, 0x3002>>;

using Kimi = Cut<Run<Class<han_class>>, CasedWord<Lead, Class<uppers, han_class>, Class<lowers, han_class>, true>,
                 Numbers3, Tailed<Other<>, LineBreak>, Spaces<true>>;
using ExaoneMoe =
    Cut<Contraction<true>, SpacedWords<Lead>, One<Number>, TailedOnce<Other<>, SlashOrLine>, Spaces<true>>;
using Qwen35 = Cut<Contraction<true>, Led<Lead, Class<letter_class | mark_class>>, One<Number>,
                   Tailed<Other<mark_class>, LineBreak>, Spaces<true>>;

}  // namespace
}  // namespace split

using namespace split;

// One row per rule; the cuts are applied in sequence, each to the pieces that the one before it left.
struct SplitRule {
  const char* name;
  CutFunction cuts[6];
};

namespace {

constexpr SplitRule rules[] = {
    {"default", {Cut<Run<PunctuationAnd>>::cut, Gpt2::cut, Cut<Run<Number>>::cut, Cut<Digit3>::cut}},
    {"gpt-2", {Gpt2::cut}},
    {"llama-bpe", {Llama3<Numbers3>::cut}},
    {"dbrx", {Llama3<Numbers3>::cut}},
    {"qwen2", {Llama3<One<Number>>::cut}},
    {"qwen35", {Qwen35::cut}},
    {"ufakzeka", {Cut<Word<>, One<Number>, OtherLines, Spaces<true>>::cut}},
    {"minicpm5", {Cut<Numbers3>::cut, Llama3<Run<Number>>::cut}},
    {"laguna", {Cut<Run<Except<Not<0>, OneOf<'\n'>>>, Run<OneOf<'\n'>>>::cut, Llama3<One<Number>>::cut}},
    {"seed-coder", {Cut<Contraction<true>, Word<>, One<Number>, Other<>, Spaces<true>>::cut}},
    {"bailingmoe", {Llama3<One<Number>>::cut}},
    {"exaone-moe", {ExaoneMoe::cut}},
    {"jais-2", {Cut<Contraction<true>, Word<>, Numbers3, OtherLines, LinesOnly, SpacesByPowers>::cut}},
    {"starcoder", {Cut<One<Number>>::cut, Gpt2::cut}},
    {"falcon", {Cut<Run<Union<PunctuationAnd, OneOf<'`'>>>>::cut, Gpt2::cut, Cut<Digit3>::cut}},
    {"chameleon",
     {Cut<Sentinel>::cut, Cut<ImageToken>::cut, ChameleonSpace::cut, Cut<One<Number>>::cut,
      Cut<One<Union<Class<punctuation_class>, AsciiPunctuation>>>::cut, Gpt2::cut}},
    {"tekken", {CasedWords<false, One<Number>>::cut}},
    {"gpt-4o", {Gpt4o::cut}},
    {"granite-embed-multi-97m", {Gpt4o::cut}},
    {"tiny_aya", {cut_in_threes<Class<decimal_class>, Class<word_class>>, Gpt4o::cut}},
    {"superbpe", {Cut<Run<Number>>::cut, cut_in_threes<Digit>}},
    {"youtu", {YoutuScripts::cut, CasedWords<true, One<Number>>::cut}},
    {"kimi-k2", {Kimi::cut}},
    {"deepseek-llm",
     {Cut<One<LineBreak>>::cut, Cut<Led<Space, Class<cased_class>>>::cut, Cut<Led<Space, DeepseekSigns>>::cut,
      cut_trailing_spaces, Cut<Run<DeepseekCjk>>::cut, Cut<Run<Number>>::cut}},
    {"deepseek-coder",
     {Cut<One<LineBreak>>::cut, Cut<Led<Space, Letter>>::cut, Cut<Led<Space, Class<punctuation_class>>>::cut,
      Cut<Run<DeepseekCjk>>::cut, Cut<One<Number>>::cut}},
    {"deepseek-v3", {Cut<Numbers3>::cut, Cut<CjkKana>::cut, Deepseek3::cut}},
    {"spark2_5",
     {Cut<Numbers3>::cut, Cut<CjkKana>::cut, Cut<AsciiWord, MarkedWord, Signs, One<LineBreak>, Spaces<false>>::cut,
      Cut<One<Number>>::cut}},
    {"afmoe", {cut_in_threes<Number>, AfmoeScripts::cut, Deepseek3::cut}},
    {"bloom", {Bloom::cut}},
    {"viking", {Bloom::cut, Cut<One<Number>>::cut}},
};

}  // namespace

const SplitRule* find_split_rule(const std::string& name) {
  load_unicode();
  for (const SplitRule& rule : rules)
    if (name == rule.name) return &rule;
  return nullptr;
}

std::vector<std::string> split_rule_names() {
  std::vector<std::string> names;
  for (const SplitRule& rule : rules) names.emplace_back(rule.name);
  return names;
}

const char* split_unicode_version() {
  return unicode_version;
}

void pre_split(const SplitRule& rule, const uint8_t* text, uint32_t begin, uint32_t end, std::vector<uint32_t>& ends,
               std::vector<uint32_t>& spare) {
  const size_t first = ends.size();
  rule.cuts[0](text, begin, end, ends);
  for (int i = 1; i < 6 && rule.cuts[i] != nullptr; ++i) {
    spare.assign(ends.begin() + static_cast<std::ptrdiff_t>(first), ends.end());
    ends.resize(first);
    uint32_t at = begin;
    for (const uint32_t stop : spare) {
      rule.cuts[i](text, at, stop, ends);
      at = stop;
    }
  }
}

}  // namespace vivace
