# Run in tests/reference: limma on small sets with outliers, ties and unequal degrees of freedom.
suppressMessages({library(limma); library(jsonlite)}); set.seed(11); out<-list()
for (k in 1:6) { n<-c(40,40,60,60,12,8)[k]; d<- if (k%%2) rep(5,n) else sample(2:12,n,TRUE)
 x<-round(rnorm(n),2); s<- signif(exp(0.4*x)/rgamma(n,3,3)*rchisq(n,d)/d,6); if (k==5) s<-signif(rchisq(n,d)/d,6); if(k<4) s[1:2]<-s[1:2]*50
 cases<-list(); for (cv in 0:1) for (rb in 0:1) { r<-squeezeVar(s,d,covariate=if(cv) x else NULL,robust=rb==1)
 cases[[length(cases)+1]]<-list(covariate=cv==1,robust=rb==1,df_prior=as.character(signif(r$df.prior,10)),post=signif(r$var.post,12))}
 out[[k]]<-list(s2=s,df=d,x=x,cases=cases)}
writeLines(toJSON(list(call="limma::squeezeVar(s2, df, covariate=x, robust=robust)",limma=as.character(packageVersion("limma")),sets=out),digits=15,auto_unbox=TRUE),"expected/squeezevar_small.json")
