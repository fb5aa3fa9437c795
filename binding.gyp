# The same addon as CMakeLists.txt for builds driven by node-gyp: one static library per instruction-set level.
{
  "variables": {
    "plain": ["<!@(node -p \"require('./cpp/sources.json').plain.join(' ')\")"],
    "kernels": ["<!@(node -p \"require('./cpp/sources.json').kernels.join(' ')\")"],
    "x64_defines": ["VIVACE_HAS_AVX2", "VIVACE_HAS_AVX512"],
    "arm64_defines": ["VIVACE_HAS_NEON"],
    "arm64_gcc_defines": ["VIVACE_HAS_I8MM"]
  },
  "target_defaults": {
    "default_configuration": "Release",
    "include_dirs": ["cpp"],
    "conditions": [
      ["target_arch=='x64'", { "defines": ["<@(x64_defines)"] }],
      ["target_arch=='arm64'", { "defines": ["<@(arm64_defines)"] }],
      ["target_arch=='arm64' and OS!='win'", { "defines": ["<@(arm64_gcc_defines)"] }]
    ],
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20", "-std=gnu++1y"],
    "cflags_cc": ["-std=c++20", "-fexceptions", "-fvisibility=hidden", "-fPIC", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"],
    "cflags!": ["-Wno-unused-parameter"],
    "xcode_settings": {
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "GCC_ENABLE_CPP_RTTI": "YES",
      "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
      "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
      "CLANG_CXX_LIBRARY": "libc++",
      "MACOSX_DEPLOYMENT_TARGET": "11.0",
      "OTHER_CPLUSPLUSFLAGS": ["-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
    },
    "msvs_settings": {
      "VCCLCompilerTool": { "ExceptionHandling": 1, "RuntimeTypeInfo": "true", "AdditionalOptions": ["/std:c++20", "/W4", "/wd4324"] }
    }
  },
  "targets": [
    {
      "target_name": "vivace",
      "sources": ["<@(plain)"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NAPI_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "dependencies": ["kernels_baseline"],
      "conditions": [
        ["target_arch=='x64'", { "cflags_cc": ["-march=x86-64-v2"], "dependencies": ["kernels_avx2", "kernels_avx512"] }],
        ["target_arch=='x64' and OS=='mac'", { "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-march=x86-64-v2"] } }],
        ["target_arch=='arm64'", { "dependencies": ["kernels_neon"] }],
        ["target_arch=='arm64' and OS!='win'", { "dependencies": ["kernels_i8mm"] }],
        ["OS=='linux'", { "ldflags": ["-pthread", "-ldl"] }]
      ]
    },
    {
      "target_name": "kernels_baseline",
      "type": "static_library",
      "sources": ["<@(kernels)"],
      "defines": ["VIVACE_ISA=baseline", "VIVACE_LEVEL_baseline"],
      "cflags_cc": ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-uninitialized", "-Wno-maybe-uninitialized"],
      "xcode_settings": { "GCC_OPTIMIZATION_LEVEL": "3", "OTHER_CPLUSPLUSFLAGS": ["-fno-math-errno", "-fno-trapping-math"] },
      "conditions": [
        ["target_arch=='x64'", { "cflags_cc": ["-march=x86-64-v2"], "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-march=x86-64-v2"] } }]
      ]
    }
  ],
  "conditions": [
    ["target_arch=='x64'", {
      "targets": [
        {
          "target_name": "kernels_avx2",
          "type": "static_library",
          "sources": ["<@(kernels)"],
          "defines": ["VIVACE_ISA=avx2", "VIVACE_LEVEL_avx2"],
          "cflags_cc": ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-uninitialized", "-Wno-maybe-uninitialized", "-march=x86-64-v3"],
          "xcode_settings": { "GCC_OPTIMIZATION_LEVEL": "3", "OTHER_CPLUSPLUSFLAGS": ["-fno-math-errno", "-fno-trapping-math", "-march=x86-64-v3"] },
          "msvs_settings": { "VCCLCompilerTool": { "AdditionalOptions": ["/arch:AVX2"] } }
        },
        {
          "target_name": "kernels_avx512",
          "type": "static_library",
          "sources": ["<@(kernels)"],
          "defines": ["VIVACE_ISA=avx512", "VIVACE_LEVEL_avx512"],
          "cflags_cc": ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-uninitialized", "-Wno-maybe-uninitialized", "-march=x86-64-v4", "-mavx512vnni", "-mprefer-vector-width=512"],
          "xcode_settings": { "GCC_OPTIMIZATION_LEVEL": "3", "OTHER_CPLUSPLUSFLAGS": ["-fno-math-errno", "-fno-trapping-math", "-march=x86-64-v4", "-mavx512vnni", "-mprefer-vector-width=512"] },
          "msvs_settings": { "VCCLCompilerTool": { "AdditionalOptions": ["/arch:AVX512"] } }
        }
      ]
    }],
    ["target_arch=='arm64'", {
      "targets": [
        {
          "target_name": "kernels_neon",
          "type": "static_library",
          "sources": ["<@(kernels)"],
          "defines": ["VIVACE_ISA=neon", "VIVACE_LEVEL_neon"],
          "cflags_cc": ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-uninitialized", "-Wno-maybe-uninitialized", "-march=armv8.2-a+dotprod+fp16"],
          "xcode_settings": { "GCC_OPTIMIZATION_LEVEL": "3", "OTHER_CPLUSPLUSFLAGS": ["-fno-math-errno", "-fno-trapping-math", "-march=armv8.2-a+dotprod+fp16"] }
        }
      ]
    }],
    ["target_arch=='arm64' and OS!='win'", {
      "targets": [
        {
          "target_name": "kernels_i8mm",
          "type": "static_library",
          "sources": ["<@(kernels)"],
          "defines": ["VIVACE_ISA=i8mm", "VIVACE_LEVEL_i8mm"],
          "cflags_cc": ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-uninitialized", "-Wno-maybe-uninitialized", "-march=armv8.2-a+dotprod+fp16+i8mm"],
          "xcode_settings": { "GCC_OPTIMIZATION_LEVEL": "3", "OTHER_CPLUSPLUSFLAGS": ["-fno-math-errno", "-fno-trapping-math", "-march=armv8.2-a+dotprod+fp16+i8mm"] }
        }
      ]
    }]
  ]
}
