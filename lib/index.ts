// The public API.
export { loadModel, embeddedModelPath } from './model/load.js';
export type { Device, LoadOptions, Repack } from './model/load.js';
export { listDevices } from './model/devices.js';
export type { DeviceReport } from './model/devices.js';
export type { Model, SessionOptions } from './model/model.js';
export { full } from './caches/full.js';
export { doubleSparsity } from './caches/double-sparsity.js';
export type { DoubleSparsityOptions } from './caches/double-sparsity.js';
export type { OffloadOptions, OffloadResult } from './caches/offload.js';
export type { ChannelFile, ChannelType } from './caches/channels.js';
export { calibrate } from './model/evaluation/calibrate.js';
export type { CalibrateOptions } from './model/evaluation/calibrate.js';
export { lmInfinite } from './caches/lm-infinite.js';
export type { LmInfiniteOptions, LmInfinitePolicy } from './caches/lm-infinite.js';
export { longGen } from './caches/long-gen.js';
export type { LongGenOptions, LongGenPolicy } from './caches/long-gen.js';
export { snapKv } from './caches/snap-kv.js';
export type { SnapKvOptions, SnapKvPolicy } from './caches/snap-kv.js';
export { window } from './caches/window.js';
export type { WindowOptions, WindowPolicy } from './caches/window.js';
export type { CachePolicy } from './caches/policies.js';
export type { CacheOptions, CacheStorage, CacheType, KeyType } from './caches/policy.js';
export type {
  PrefixCache,
  PrefixCacheOptions,
  PrefixCacheStatistics,
  SessionPrefixOptions,
} from './decode/prefix-cache.js';
export { draftModel, draftTree } from './model/draft-model.js';
export type { DraftTreeOptions } from './model/draft-model.js';
export { AcceptanceProfile } from './decode/speculation/trees/acceptance-profile.js';
export type { AcceptanceData } from './decode/speculation/trees/acceptance-profile.js';
export { crossVocabulary } from './model/cross-vocabulary.js';
export type { CrossVocabularyOptions } from './model/cross-vocabulary.js';
export type {
  CrossVocabularyDrafter,
  CrossVocabularyReport,
  Exactness,
} from './decode/speculation/drafters/cross-vocabulary/policy.js';
export { onlineAdaptation } from './model/online-adaptation.js';
export type { AdaptationReport, AdaptOptions, OnlineAdaptation } from './model/online-adaptation.js';
export type { OnlineAdaptationOptions } from './decode/speculation/adapt/options.js';
export { eagle } from './model/eagle.js';
export type { EagleOptions } from './model/eagle.js';
export { medusa } from './model/medusa.js';
export type { MedusaOptions } from './model/medusa.js';
export type { HeadDrafter } from './model/head-runs.js';
export type { DraftModelOptions } from './decode/speculation/drafters/draft-model.js';
export type { ModelInfo } from './model/info.js';
export type { Prompt, Session } from './session/session.js';
export type { Chat, ChatMessage, ChatOptions } from './session/chat.js';
export { tokenMask } from './decode/constraint.js';
export type { Constraint } from './decode/constraint.js';
export type { Piece, TokenLogprob, TokenLogprobs, TokenOrigin } from './decode/answer.js';
export type { FinishReason, GenerateResult } from './decode/loop.js';
export { generateDefaults } from './decode/options.js';
export type { GenerateOptions } from './decode/options.js';
export { datastore, inputCopy, lookahead, nGram, suffix } from './decode/speculation/drafters/policies.js';
export type { DatastoreOptions } from './decode/speculation/drafters/policies.js';
export type { InputCopyOptions } from './decode/speculation/drafters/input-copy.js';
export type { LookaheadOptions } from './decode/speculation/drafters/lookahead.js';
export type { NGramOptions } from './decode/speculation/drafters/n-gram.js';
export { SuffixCache } from './decode/speculation/drafters/suffix.js';
export type { SuffixCacheOptions, SuffixOptions } from './decode/speculation/drafters/suffix.js';
export { Datastore } from './decode/speculation/drafters/datastore.js';
export type { DatastoreInfo, DatastoreOpenOptions } from './decode/speculation/drafters/datastore.js';
export { buildDatastore, tokenizerFingerprint } from './decode/speculation/drafters/datastore-build.js';
export type { DatastoreBuildOptions } from './decode/speculation/drafters/datastore-build.js';
export type { Draft, DraftContext, DraftedTokens, Drafter, GenerationDrafter } from './decode/speculation/drafter.js';
export type {
  BaseVerifier,
  ReflectiveVerifier,
  RelaxedVerifier,
  SpeculationOptions,
  TypicalVerifier,
  Verifier,
} from './decode/speculation/options.js';
export type { JudgeFeature, JudgeHead, JudgeThreshold } from './decode/speculation/judge/head.js';
export type { Where } from './decode/speculation/where.js';
export type { JudgeVerifier } from './decode/speculation/judge/options.js';
export { areaUnderCurve, trainJudge } from './decode/speculation/judge/train.js';
export type { JudgeExample, JudgeTrainOptions, TrainedJudge } from './decode/speculation/judge/train.js';
export { headOf as judgeHeadOf, loadJudge, saveJudge } from './model/judge/head.js';
export { importAutoJudge } from './model/judge/import.js';
export { loadReflection, reflectionFileOf, saveReflection } from './model/reflection.js';
export { readCases } from './model/evaluation/cases.js';
export type { EvaluationCase } from './model/evaluation/cases.js';
export { bestRow, evaluate } from './model/evaluation/evaluate.js';
export type { EvaluationOptions, EvaluationRow } from './model/evaluation/evaluate.js';
export { measureAcceptance, selfCheck } from './model/evaluation/acceptance.js';
export type { AcceptanceOptions, MeasuredAcceptance, SelfCheck } from './model/evaluation/acceptance.js';
export { evaluateNeedle } from './model/evaluation/needle.js';
export type { NeedleCell, NeedleOptions, NeedleReport } from './model/evaluation/needle.js';
export { evaluatePerplexity } from './model/evaluation/perplexity.js';
export type { PerplexityOptions, PerplexityPart, PerplexityReport } from './model/evaluation/perplexity.js';
export { annotateJudge } from './model/judge/annotate.js';
export type { AnnotatedAnswer, AnnotatedExample, AnnotateOptions } from './model/judge/annotate.js';
export { mineJudge } from './model/judge/mine.js';
export type { MinedExample, MineOptions } from './model/judge/mine.js';
export type { ReflectionResult } from './decode/speculation/reflective/reflector.js';
export type { SpeculationResult } from './decode/speculation/result.js';
export type { Proposal, SamplerOptions } from './program/executor.js';
export type { Tokenizer, EncodeOptions, DecodeOptions, SpecialIds } from './formats/tokenizer/tokenizer.js';
export { TextStream } from './formats/tokenizer/text-stream.js';
export { openModelFile } from './formats/open.js';
export type { ModelSource, TensorSource } from './formats/model-source.js';
export { quantizeModel } from './quantize/lazily.js';
export type { QuantizeOptions, QuantizeResult } from './quantize/quantize.js';
export { quantizeTypes } from './quantize/types.js';
export type { QuantizeType } from './quantize/types.js';
export { estimateMemory } from './models/memory.js';
export type { MemoryEstimate, MemoryOptions } from './models/memory.js';
export type { ExpertOptions } from './experts/options.js';
export { planExperts } from './experts/plan.js';
export type { ExpertPlan } from './experts/plan.js';
export type { ModelExperts } from './experts/model-experts.js';
export type { ExpertPlacement, ExpertPolicy } from './experts/policies.js';
export type { ExpertLayerStatistics, ExpertStatistics } from './experts/statistics.js';
export { readRouting, writeRouting } from './experts/trace.js';
export type { RoutedLayer, RoutedRun, RoutingRecord } from './experts/trace.js';
export { VivaceError } from './errors.js';
export type { ErrorCode } from './errors.js';
